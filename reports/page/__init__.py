"""Pages: what each answers, and of which tables, panels and verdicts it is made."""

PAGES = {
    "scaling": "distance against model size, compute and time",
    "encoders": "strength of the external encoder against distance",
    "probes": "what the features know, by block and noise level",
    "ablation": "which part of a method does the work",
    "convergence": "distance and losses while training",
    "cost": "parameters, FLOPs, time and memory of every arm",
    "all": "all of these on one page",
}
