"""The denoising U-Net and its parts: tensors in, tensors out."""
