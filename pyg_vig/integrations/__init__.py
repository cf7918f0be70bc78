"""Bridges to timm and to the Hugging Face Hub; each module imports its package where it is used."""
