"""The commands by name, the one list of them. It is read before anything is imported, and imports nothing.

A command's module has `parser()`, which makes its argparse.ArgumentParser, and `main()`, which returns the exit code.
"""

# name: its module, and what it does, as `ttfs --help` says it
COMMANDS = {
    "train": ("ttfs_cupy.train", "trains a network as a YAML file says, or goes on with a run"),
    "evaluate": ("ttfs_cupy.evaluate", "measures a run's weights on the test set"),
    "predict": ("ttfs_cupy.trained.predict_command", "classifies images with a run's network"),
    "robustness": ("ttfs_cupy.robustness.command", "measures what disturbances a run's network bears"),
    "preview": ("ttfs_cupy.preview", "draws what training makes of its images"),
    "convert": ("ttfs_cupy.convert", "writes a run's weights and network for PyTorch"),
    "convert-config": ("ttfs_cupy.convert_config", "writes T2FSNN's config as a YAML file"),
    "export": ("ttfs_cupy.export.command", "writes a run's network for other runtimes: ONNX, NIR, C"),
    "simulate": ("ttfs_cupy.simulate", "steps a run's network through time, beside the closed form"),
    "sweep": ("ttfs_cupy.sweep.command", "trains every combination of settings and seeds"),
    "report": ("ttfs_cupy.report.command", "makes an HTML page of a run, or of several side by side"),
    "energy": ("ttfs_cupy.energy.command", "estimates the energy of an image, from operations counted"),
    "check": ("ttfs_cupy.check.command", "tells whether all works on this machine"),
    "bench": ("ttfs_cupy.bench", "times training and inference beside PyTorch"),
    "list": ("ttfs_cupy.list", "lists configs, models, data sets and other names"),
}
