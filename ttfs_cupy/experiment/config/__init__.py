"""An experiment's YAML file: its text, its keys, and what is said of mistakes in it."""

from ttfs_cupy.experiment.config.keys import Config, NetworkConfig, dump_config, load_config

__all__ = ["Config", "NetworkConfig", "dump_config", "load_config"]
