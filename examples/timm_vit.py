"""timm: one line registers the optimizer under a name, and ``create_optimizer_v2`` and ``--opt`` know it from then on.

Its weight decay for matrices alone and its layer decay are groups with ``lr_scale``, which timm's schedulers multiply
``lr`` by. Where no scheduler is used ``lr`` is what counts, so the loop below sets it once. An average of weights
(``ModelEmaV3``) begins once the search is over; the optimizer has one of its own in ``averaged()``.
"""

import torch
from timm.models.vision_transformer import VisionTransformer
from timm.optim import OptimInfo, create_optimizer_v2
from timm.optim._optim_factory import default_registry
from timm.utils import ModelEmaV3
from torch.nn.functional import cross_entropy

import pfopt.torch
from examples import digits

STEPS = 600

default_registry.register(OptimInfo("pfadamw", pfopt.torch.ParameterFreeAdamW, has_betas=True))


def main(rate: float | None = None, steps: int = STEPS) -> float:
    """Train and return the test accuracy; a ``rate`` is that of timm's AdamW, to compare with."""
    torch.manual_seed(0)
    train, test = digits.load()
    model = VisionTransformer(
        img_size=8, patch_size=4, in_chans=1, num_classes=10, embed_dim=32, depth=2, num_heads=4
    )
    ours = ("pfadamw", {"lr": 1.0, "total_steps": steps}) if rate is None else ("adamw", {"lr": rate})
    opt = create_optimizer_v2(model, ours[0], weight_decay=0.05, layer_decay=0.75, **ours[1])
    for group in opt.param_groups:
        group["lr"] *= group["lr_scale"]
    average = ModelEmaV3(model, decay=0.98)
    for batch in digits.batches(train, steps):
        images, labels = map(torch.from_numpy, batch)
        opt.zero_grad()
        cross_entropy(model(images.view(-1, 1, 8, 8)), labels.long()).backward()
        opt.step()
        if rate is not None or opt.status().phase != "search":  # type: ignore[attr-defined]
            average.update(model)
    images, labels = map(torch.from_numpy, test)
    model.eval()
    return float((model(images.view(-1, 1, 8, 8)).argmax(-1) == labels).float().mean())


if __name__ == "__main__":
    print(f"test accuracy {main():.3f}")
