NIR = ("nir, which writes the file,", "pip install 'ttfs-cupy[nir]'")
def content(network, about): raise NotImplementedError
