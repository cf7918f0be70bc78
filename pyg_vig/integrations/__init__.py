"""Integrations with timm and the Hugging Face Hub; each module imports its package only when it is used."""
