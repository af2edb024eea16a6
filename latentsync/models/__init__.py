"""The denoising U-Net, the SyncNets and their parts: tensors in, tensors out."""
