"""The kernels: one .cu file per topic, built by NVRTC for a GPU and by a C++ compiler for the CPU."""
