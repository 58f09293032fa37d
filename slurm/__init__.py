"""Studies on a SLURM cluster: jobs, arrays, dependencies, preemption
(`python -m bench.sweep compute=slurm`).
"""
