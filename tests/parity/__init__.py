"""ttfs_cupy beside the two frameworks that it replaces, each running its own code.

    git clone https://github.com/ggoupy/T2FSNN
    git clone https://github.com/Wenjie-Wei/DTA-TTFS
    TTFS_T2FSNN=T2FSNN TTFS_DTA=DTA-TTFS python -m pytest tests/parity

Both variables are paths of checkouts; without one its tests are skipped by name. Both need PyTorch, the digits need
scikit-learn. All runs on the CPU, in a minute or two on two cores. Their modules are imported from there, and called
as they are; in float64 (computing_in) for what is compared, and in float32 to see how far they are from themselves.

How far apart all is stands in a table after the run, by test (figures.py). Layers are compared one by one, each given
the same input, and gradients at the same spike times: docs/model.md, "Sensitivity", says why. A neuron may spike on one
side alone only where float64 itself is within FLIP_MARGIN of the brink, and each is counted. A neuron that spikes
exactly as its window ends, in T2FSNN and DTA-TTFS, is silent here, by rule: that is counted apart.
"""
