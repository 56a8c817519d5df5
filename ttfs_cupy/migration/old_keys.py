"""What keys of other frameworks are called here: the one table, for translations and for what is said of unknown keys.

T2FSNN is https://github.com/ggoupy/T2FSNN, DTA-TTFS the code of Wei et al., ICCV 2023.
"""

from dataclasses import dataclass

NO_STEPS = "has no counterpart: spike times are computed in closed form, not step by step"


@dataclass(frozen=True)
class OldKey:
    """A key of another framework.

    here: what it has become, as dotted keys; none where nothing is set by it here, and `remark` then says why.
    remark: what a renaming alone does not say.
    owner: whose key it is; empty for a habit of many.
    """

    here: tuple[str, ...]
    remark: str = ""
    owner: str = ""

    def answer(self, name: str) -> str:
        """What is said to whoever used it, behind "is not a key: "."""
        whose = f"{self.owner}'s {name}" if self.owner else "it"
        if not self.here:
            return f"{whose} {self.remark}"
        is_here = f"is {' and '.join(self.here)} here" + (f" ({self.remark})" if self.remark else "")
        return f"{whose} {is_here}"


def _t2fsnn(*here: str, remark: str = "") -> OldKey:
    return OldKey(here, remark, "T2FSNN")


def _wei(*here: str, remark: str = "") -> OldKey:
    return OldKey(here, remark, "DTA-TTFS")


def _habit(*here: str, remark: str = "") -> OldKey:
    return OldKey(here, remark)


# What T2FSNN's JSON may hold: what its run.py reads of it, then what only its classes take as arguments.
T2FSNN_READ = {
    "use_adam": _t2fsnn("optimizer.name", remark="true is adam, false is sgd"),
    "lr": _t2fsnn("optimizer.lr"),
    "w_decay": _t2fsnn("optimizer.weight_decay", remark="taken off the weights after the step, decoupled"),
    "w_ei": _t2fsnn("optimizer.fixed_sign"),
    "grad_clip": _t2fsnn("network.grad_clip", remark="the bound of network.clip separate"),
    "annealing": _t2fsnn("schedule.annealing", remark="the factor of schedule.name exponential"),
    "early_stopping": _t2fsnn("training.patience", remark="epochs without a better validation accuracy"),
    "epochs": _t2fsnn("training.epochs"),
    "batch_size": _t2fsnn("training.batch_size"),
}
T2FSNN_TAKEN = {
    "w_clip": _t2fsnn("optimizer.weight_clip", remark="true is [w_min, w_max], false is null"),
    "w_min": _t2fsnn("optimizer.weight_clip", remark="the lower of its two bounds"),
    "w_max": _t2fsnn("optimizer.weight_clip", remark="the upper of its two bounds"),
    "w_init_mean": _t2fsnn("network.weight_mean", remark="of all layers, or by layer: {conv1: 0.1}"),
    "w_init_std": _t2fsnn("network.weight_std", remark="of all layers, or by layer: {conv1: 0.1}"),
    "t_win": _t2fsnn("network.t_win"),
    "adam_beta1": _t2fsnn("optimizer.beta1"),
    "adam_beta2": _t2fsnn("optimizer.beta2"),
    "adam_epsilon": _t2fsnn("optimizer.eps"),
    "betas": _habit("optimizer.beta1", "optimizer.beta2", remark="two keys"),
    "eps": _habit("optimizer.eps"),
}
T2FSNN_KEYS = {**T2FSNN_READ, **T2FSNN_TAKEN}

_FROM_DATA = "is not set here: it follows from the data set"

OLD_KEYS: dict[str, OldKey] = {
    **T2FSNN_KEYS,
    # of T2FSNN's layers and command line
    "no_spk": _t2fsnn("network.readout", remark="true is potential, false is spike_times with network.silent excluded"),
    "gpu_id": _t2fsnn("device", remark="0 is cuda:0"),
    "load_n_workers": _t2fsnn("threads", remark="one for each core unless it is set"),
    # of Wei et al.'s scripts
    "bz": _wei("training.batch_size"),
    "iterationNum": _wei("training.epochs"),
    "model_name": _wei("network.model", remark="VGG11 is wei_vgg11, VGG16 is wei_vgg16"),
    "num_class": _wei(remark=_FROM_DATA),
    "pre-trained": _wei("network.initial_weights", remark="a state_dict in .pt or .pth, or --init-from"),
    "barfreshnum": _wei("watch.log_every", remark="in seconds"),
    "dt": _wei(remark=f"{NO_STEPS}; ttfs simulate has --dt"),
    # of PyTorch, snnTorch, SpikingJelly, and of many
    "learning_rate": _habit("optimizer.lr"),
    "num_epochs": _habit("training.epochs"),
    "n_epochs": _habit("training.epochs"),
    "max_epochs": _habit("training.epochs"),
    "bs": _habit("training.batch_size"),
    "wd": _habit("optimizer.weight_decay"),
    "epsilon": _habit("optimizer.eps"),
    "max_norm": _habit("optimizer.clip_norm"),
    "max_grad_norm": _habit("optimizer.clip_norm"),
    "clip_grad_norm": _habit("optimizer.clip_norm"),
    "gamma": _habit("schedule.annealing", "schedule.factor", remark="of exponential, and of multistep"),
    "lr_scheduler": _habit("schedule"),
    "num_workers": _habit("threads"),
    "random_seed": _habit("seed"),
    "output_dir": _habit("output"),
    "data_dir": _habit("data.root"),
    "num_classes": _habit(remark=_FROM_DATA),
    "n_classes": _habit(remark=_FROM_DATA),
    "num_steps": _habit(remark=NO_STEPS),
    "time_steps": _habit(remark=NO_STEPS),
    "timesteps": _habit(remark=NO_STEPS),
    "threshold": _habit(remark="is not set here: it falls from network.t_win to 0 within a layer's window"),
    "v_threshold": _habit(remark="is not set here: it falls from network.t_win to 0 within a layer's window"),
    "spike_grad": _habit(remark="has no counterpart: gradients are those of spike times, without a surrogate"),
    "surrogate_function": _habit(remark="has no counterpart: gradients are those of spike times, without a surrogate"),
}

_BY_LOWER_CASE = {name.lower(): key for name, key in OLD_KEYS.items()}


def old_key(name: str) -> OldKey | None:
    """The other framework's key of that name, in whatever case; None where there is none."""
    return _BY_LOWER_CASE.get(name.lower())
