"""The code that travels with a shared model: these files are copied into its folder as they are,
and know diffusers and PyTorch alone. `bench.evaluation.sharing` writes the rest of the folder.
"""
