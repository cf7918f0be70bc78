"use strict";

/* One block of the network: its graph over the patches, unpacked from the data that pyg_vig/explore/page.py wrote. */

const ARRAYS = { int8: Int8Array, uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array };

/** Decode numbers from base64; with `low` and `high`, they are quantised over that range. */
function unpack({ type, data, low, high }) {
  const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  const numbers = new ARRAYS[type](bytes.buffer);
  if (low === undefined) return numbers;
  const step = (high - low) / (2 ** (8 * numbers.BYTES_PER_ELEMENT) - 1);
  return Float32Array.from(numbers, (number) => low + number * step);
}

/** Grid of patches over the photo; patches are numbered row by row. */
class Grid {
  constructor([rows, columns]) {
    this.rows = rows;
    this.columns = columns;
    this.size = rows * columns;
  }

  /** The patch at a position, given as fractions of height and width. */
  patchAt(y, x) {
    const index = (fraction, count) => Math.min(count - 1, Math.max(0, Math.floor(fraction * count)));
    return index(y, this.rows) * this.columns + index(x, this.columns);
  }

  /** Row and column of a patch, and its top-left corner and size as fractions of the photo. */
  box(patch) {
    const row = Math.floor(patch / this.columns), column = patch % this.columns;
    return { row, column, x: column / this.columns, y: row / this.rows, width: 1 / this.columns, height: 1 / this.rows };
  }

  /** The centre of a patch. */
  center(patch) {
    const { x, y, width, height } = this.box(patch);
    return { x: x + width / 2, y: y + height / 2 };
  }

  name(patch) {
    const { row, column } = this.box(patch);
    return `row ${row + 1}, column ${column + 1}`;
  }
}

class Block {
  constructor(packed) {
    this.name = packed.name;
    this.attention = packed.attention;
    this.grid = new Grid(packed.grid);
    this.sources = new Grid(packed.sourceGrid);
    this.isPooled = this.grid.size !== this.sources.size;
    this.pointers = unpack(packed.pointers);
    this.indices = unpack(packed.neighbors);
    this.weights = unpack(packed.weights);
    this.channels = packed.channels;
    this.similarities = packed.similarities && unpack(packed.similarities);
    this.keys = packed.keys && unpack(packed.keys);
    this.queries = packed.queries ? unpack(packed.queries) : this.keys;
  }

  /** Neighbours of a patch with their weights, in the network's order. */
  neighbors(patch) {
    const neighbors = [];
    for (let edge = this.pointers[patch]; edge < this.pointers[patch + 1]; edge++) {
      neighbors.push({ patch: this.indices[edge], weight: this.weights[edge] });
    }
    return neighbors;
  }

  /** Similarity of a patch to every source patch. */
  similarity(patch) {
    const count = this.sources.size;
    if (this.similarities) return this.similarities.subarray(patch * count, (patch + 1) * count);
    const row = (rows, index) => rows.subarray(index * this.channels, (index + 1) * this.channels);
    const query = row(this.queries, patch);
    return Float32Array.from({ length: count }, (_, source) => cosine(query, row(this.keys, source)));
  }

  /** For every source patch, the number of other patches that have it as a neighbour. */
  timesChosen() {
    if (this.counts) return this.counts;
    this.counts = new Float32Array(this.sources.size);
    for (let patch = 0; patch < this.grid.size; patch++) {
      for (const { patch: source } of this.neighbors(patch)) this.counts[source] += !this.isSamePatch(patch, source);
    }
    return this.counts;
  }

  /** Mean distance from a patch to its neighbours other than itself, in patches. */
  meanDistance(patch) {
    const center = this.grid.center(patch);
    const others = this.neighbors(patch).filter((neighbor) => !this.isSamePatch(patch, neighbor.patch));
    const distances = others.map(({ patch: source }) => {
      const end = this.sources.center(source);
      return Math.hypot((end.x - center.x) * this.grid.columns, (end.y - center.y) * this.grid.rows);
    });
    return distances.length ? distances.reduce((sum, distance) => sum + distance, 0) / distances.length : 0;
  }

  isSamePatch(patch, source) {
    return !this.isPooled && patch === source;
  }
}

function cosine(a, b) {
  let product = 0, lengthA = 0, lengthB = 0;
  for (let i = 0; i < a.length; i++) {
    product += a[i] * b[i];
    lengthA += a[i] * a[i];
    lengthB += b[i] * b[i];
  }
  return product / (Math.sqrt(lengthA * lengthB) || 1);
}
