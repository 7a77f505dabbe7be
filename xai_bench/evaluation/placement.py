"""Where an explainer works: beside the network, where it goes back through it or looks inside it.

Everything else works on the CPU and asks the network from there. So do other libraries that only go
back through it, because they draw from the global generator of the device they work on.
"""

from __future__ import annotations

import torch

from xai_bench.core.system.devices import CPU, computes_in_double, device_of, domain_on, inputs_on
from xai_bench.evaluation.context import EvaluationContext
from xai_bench.types import Explainer, Inputs, Unsupported, tags_of

_INSIDE = {"module", "attention"}
_BACK = "gradient"
_DOMAINS = 4
"""How many domains are kept on the device."""


def placed(context: EvaluationContext, explainer: Explainer, inputs: Inputs) -> Inputs:
    """The inputs where the explainer works.

    Raises `Unsupported` where it would have to add up in float64 and the device has none.
    """
    device = device_for(explainer, device_of(context.model.module))
    if inputs.x.device == device:
        return inputs
    known = context.domains.get(id(inputs.domain))
    if known is None or known[1].background.device != device:
        # With the domain itself, because the id of one that is freed is given to another.
        known = (inputs.domain, domain_on(inputs.domain, device))
        if len(context.domains) >= _DOMAINS:  # metrics make domains of their own, for each batch
            context.domains.clear()
        context.domains[id(inputs.domain)] = known
    return inputs_on(inputs, device, known[1])


def device_for(explainer: Explainer, device: torch.device) -> torch.device:
    """Where an explainer works, of a network on a device. Raises `Unsupported`, as `placed`."""
    # Of one that works at embeddings, those of the explainer in it.
    tags = tags_of(getattr(explainer, "explainer", explainer))
    inside = bool(_INSIDE & set(tags.needs))
    if computes_in_double(device):
        back = not tags.library and _BACK in tags.needs
        return device if inside or back else CPU
    if inside:
        raise Unsupported(
            f"it looks into the layers and adds up in float64, which device={device} does not "
            "have: use device=cpu"
        )
    return CPU
