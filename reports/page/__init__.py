"""Pages: what each answers, and of which tables, panels and verdicts it is made."""

EVERYTHING = "all"  # the page of all pages
PAGES = {
    "scaling": "change from vanilla against model size; what compute and time buy",
    "encoders": "results against the strength of the external encoder",
    "ablation": "which part of a method does the work",
    "convergence": "change from vanilla along training, and losses",
    "samples": "pictures of every arm beside real ones",
    "probes": "what the features know, by block and noise level",
    "cost": "parameters, FLOPs, time and memory of every arm",
    EVERYTHING: "all of these on one page",
}
