"""Samples of a flow-matching transformer that is told a class, as a pipeline of diffusers.

    from diffusers import DiffusionPipeline
    pipe = DiffusionPipeline.from_pretrained(DIR, trust_remote_code=True)
    pipe(class_labels=[3, 5], num_inference_steps=50).images

The folder holds this file and the transformer's, both short and made to be read: diffusers runs
code of a folder only where it is told to trust it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, ImagePipelineOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor


class FlowPipeline(DiffusionPipeline):
    """transformer: the velocity field; scheduler: diffusers' FlowMatchEulerDiscreteScheduler;
    autoencoder: name or folder of the VAE that decodes latents, None where pixels are made;
    latent_scale: latents are so many times the VAE's.
    """

    def __init__(self, transformer, scheduler, autoencoder=None, latent_scale=1.0):
        super().__init__()
        self.register_modules(transformer=transformer, scheduler=scheduler)
        self.register_to_config(autoencoder=autoencoder, latent_scale=latent_scale)
        self._vae = None

    @torch.no_grad()
    def __call__(
        self,
        class_labels: Sequence[int] | Tensor,
        num_inference_steps: int = 50,
        guidance_scale: float = 1.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """One sample a label, by Euler's method in equal steps of the noise level.

        guidance_scale: w of v_u + w (v_c - v_u), 1 for none; latents: the noise to begin with
        [n, C, H, W]; output_type: pil, np ([n, H, W, C] in [0, 1]), or latent for what the
        transformer made.
        """
        config, device = self.transformer.config, self._execution_device
        labels = torch.as_tensor(class_labels, dtype=torch.int64, device=device)
        if labels.ndim != 1 or labels.min() < 0 or labels.max() > config.classes:
            raise ValueError(f"class_labels: give a list of numbers from 0 to {config.classes - 1}")

        # the noise, and levels 1, 1 - 1/n, ..., 1/n: the scheduler puts 0 behind them
        shape = (len(labels), config.channels, config.height, config.width)
        x = randn_tensor(shape, generator=generator, device=device) if latents is None else latents
        x = x.to(device, torch.float32)
        levels = np.linspace(1, 1 / num_inference_steps, num_inference_steps)
        self.scheduler.set_timesteps(sigmas=levels.tolist(), device=device)

        null = torch.full_like(labels, config.classes)
        for timestep in self.progress_bar(self.scheduler.timesteps):
            velocity = self._velocity(x, timestep, labels)
            if guidance_scale != 1:
                without = self._velocity(x, timestep, null)
                velocity = without + guidance_scale * (velocity - without)
            x = self.scheduler.step(velocity, timestep, x, return_dict=False)[0]

        images = x if output_type == "latent" else self._pictures(x, output_type)
        return ImagePipelineOutput(images) if return_dict else (images,)

    def _velocity(self, x: Tensor, timestep: Tensor, labels: Tensor) -> Tensor:
        times = timestep.expand(len(x))
        return self.transformer(x.to(self.transformer.dtype), times, labels).sample.float()

    def _pictures(self, x: Tensor, output_type: str):
        """Pixels, or latents that the autoencoder decodes, as pictures."""
        if self.config.autoencoder:
            if self._vae is None:
                self._vae = AutoencoderKL.from_pretrained(self.config.autoencoder).to(x.device)
            x = torch.cat(
                [self._vae.decode(part / self.config.latent_scale).sample for part in x.split(16)]
            )
        # [-1, 1] -> 0..255, halves up
        pictures = (127.5 * x + 128).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        if output_type == "np":
            return pictures / np.float32(255)
        if output_type != "pil":
            raise ValueError(f"output_type={output_type} is unknown: pil, np or latent")
        return self.numpy_to_pil(pictures / np.float32(255))
