"""Studies on a SLURM cluster: jobs, arrays, dependencies, preemption. Started by `python -m bench.sweep compute=slurm`."""
