"""Random input for everything that takes any: the API, configs, run directories, files of data and of weights.

`make fuzz SECONDS=600` runs them all, the kernels built with AddressSanitizer and UndefinedBehaviorSanitizer;
test_fuzz.py runs a little of each.
"""
