"use strict";

/* Overlays on the photo: colours on a canvas with one pixel per patch, and marks in an SVG in the photo's pixels. */

const VIRIDIS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];

/** Viridis colour of a fraction from 0 to 1. */
function viridis(fraction) {
  const position = Math.min(1, Math.max(0, fraction)) * (VIRIDIS.length - 1);
  const below = Math.min(VIRIDIS.length - 2, Math.floor(position));
  return VIRIDIS[below].map((value, i) => Math.round(value + (position - below) * (VIRIDIS[below + 1][i] - value)));
}

/** Position of a value in a range, as a fraction; 0.5 if the range is empty. */
function normalize(value, low, high) {
  return high > low ? (value - low) / (high - low) : 0.5;
}

class Drawing {
  constructor(canvas, svg, size) {
    this.canvas = canvas;
    this.svg = svg;
    this.size = size; // {width, height} of the photo
    svg.setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
  }

  /** Colour every patch by its value; without values, hide the colours. */
  drawHeatmap(grid, values, low, high) {
    this.canvas.hidden = !values;
    if (!values) return;
    this.canvas.width = grid.columns;
    this.canvas.height = grid.rows;
    const context = this.canvas.getContext("2d");
    const image = context.createImageData(grid.columns, grid.rows);
    values.forEach((value, patch) => image.data.set([...viridis(normalize(value, low, high)), 255], 4 * patch));
    context.putImageData(image, 0, 0);
  }

  /** Draw the grid, the patch, its neighbours, and a line to each; `dimOthers` darkens all other patches. */
  drawMarks(block, patch, dimOthers) {
    const neighbors = block.neighbors(patch);
    const weights = neighbors.map(({ weight }) => weight);
    const low = Math.min(...weights), high = Math.max(...weights);
    const others = neighbors.filter((neighbor) => !block.isSamePatch(patch, neighbor.patch));
    const strength = ({ weight }) => (0.35 + 0.65 * normalize(weight, low, high)).toFixed(2);
    this.svg.replaceChildren(
      ...(dimOthers ? [this.shade(block, patch, neighbors)] : []),
      this.gridLines(block.grid),
      group("links", others.map((neighbor) => this.line(block, patch, neighbor, strength(neighbor)))),
      group("frames", neighbors.map((neighbor) => this.frame(block, neighbor, strength(neighbor)))),
      ...this.centerMarks(block.grid, patch),
    );
  }

  /** Highlight one neighbour, or none. */
  highlight(patch) {
    for (const frame of this.svg.querySelectorAll(".neighbor")) {
      frame.classList.toggle("highlighted", Number(frame.dataset.patch) === patch);
    }
  }

  shade(block, patch, neighbors) {
    const { width, height } = this.size;
    const holes = new Set(neighbors.map((neighbor) => this.outline(block.sources, neighbor.patch)));
    const ownOutline = this.outline(block.grid, patch); // the same outline twice would cancel out (even-odd fill)
    if (!neighbors.some((neighbor) => this.covers(block, neighbor.patch, patch))) holes.add(ownOutline);
    return element("path", { class: "shade", d: `M0 0H${width}V${height}H0Z${[...holes].join("")}` });
  }

  /** Whether a source patch covers a patch of the grid. */
  covers(block, source, patch) {
    const { x, y } = block.grid.center(patch);
    return block.sources.patchAt(y, x) === source;
  }

  gridLines(grid) {
    const { width, height } = this.size;
    let path = "";
    for (let column = 1; column < grid.columns; column++) path += `M${(column * width) / grid.columns} 0V${height}`;
    for (let row = 1; row < grid.rows; row++) path += `M0 ${(row * height) / grid.rows}H${width}`;
    return element("path", { class: grid.columns > 32 ? "grid fine" : "grid", d: path });
  }

  line(block, patch, neighbor, strength) {
    const from = this.pixels(block.grid.center(patch)), to = this.pixels(block.sources.center(neighbor.patch));
    return element("line", { class: "link", x1: from.x, y1: from.y, x2: to.x, y2: to.y, opacity: strength });
  }

  frame(block, { patch, weight }, strength) {
    const frame = element("rect", { class: "neighbor", ...this.rectangle(block.sources, patch), "data-patch": patch });
    frame.dataset.weight = weight;
    frame.style.setProperty("--strength", strength);
    return frame;
  }

  centerMarks(grid, patch) {
    const box = this.rectangle(grid, patch), center = this.pixels(grid.center(patch));
    const radius = Math.max(0.42 * Math.min(box.width, box.height), this.size.width / 70);
    const d = starPath(center.x, center.y, radius);
    return [element("rect", { class: "center", ...box, "data-patch": patch }), element("path", { class: "star", d })];
  }

  rectangle(grid, patch) {
    const { x, y, width, height } = grid.box(patch), size = this.size;
    return { x: x * size.width, y: y * size.height, width: width * size.width, height: height * size.height };
  }

  outline(grid, patch) {
    const { x, y, width, height } = this.rectangle(grid, patch);
    return `M${x} ${y}v${height}h${width}v${-height}Z`;
  }

  pixels({ x, y }) {
    return { x: x * this.size.width, y: y * this.size.height };
  }
}

function element(name, attributes) {
  const created = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) created.setAttribute(key, value);
  return created;
}

function group(name, children) {
  const created = element("g", { class: name });
  created.append(...children);
  return created;
}

function starPath(x, y, radius) {
  const points = Array.from({ length: 10 }, (_, i) => {
    const length = i % 2 ? 0.45 * radius : radius, angle = (Math.PI * i) / 5;
    return `${x + length * Math.sin(angle)} ${y - length * Math.cos(angle)}`;
  });
  return `M${points.join("L")}Z`;
}
