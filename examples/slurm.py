"""A sweep as a SLURM job array: `python examples/slurm.py --partition gpu --gpus 1`.

Run it on the login node, in tmux or as a small job of its own: this process plans the sweep,
submits its chunks as the tasks of one job array, and alone writes the store as they finish. If it
is stopped, or jobs are lost, the same command submits what is missing. `--local` runs the tasks as
processes of this machine, to try it without a cluster.

Needs `pip install -e '.[dist]'`, in an environment and a folder that the nodes share.
"""

import argparse

import submitit

import jaxscale as js


def main() -> None:
    """Plan, submit, wait, print."""
    parser = argparse.ArgumentParser(description="A sweep as a SLURM job array.")
    parser.add_argument("--local", action="store_true", help="processes of this machine")
    parser.add_argument("--partition", help="SLURM partition")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs per task")
    parser.add_argument("--cpus", type=int, default=8, help="CPU cores per task")
    parser.add_argument("--minutes", type=int, default=60, help="time limit of a task")
    parser.add_argument("--at-once", type=int, default=50, help="most tasks running at once")
    parser.add_argument("--steps", type=int, default=3000, help="training steps of each run")
    parser.add_argument("--store", default="slurm.zarr", help="results, in a shared folder")
    options = parser.parse_args()

    system = js.emergence.ParityNetwork(n_steps=options.steps, batch_size=256)
    axes = {"width": [16, 32, 64], "learning_rate": js.geomspace(0.02, 0.16, 4)}
    grid = js.Grid(system, axes=axes, seeds=8)
    # one task per chunk: about as many runs as keep a worker busy for longer than it takes to start
    plan = js.plan(grid, max_runs_per_chunk=32, max_programs=1)
    print(plan)

    executor = submitit.AutoExecutor("slurm-jobs", cluster="local" if options.local else "slurm")
    executor.update_parameters(
        timeout_min=options.minutes,
        cpus_per_task=options.cpus,
        gpus_per_node=options.gpus,
        slurm_array_parallelism=options.at_once,
        slurm_setup=["export JAX_NUM_CPU_DEVICES=$SLURM_CPUS_PER_TASK"],
        **({"slurm_partition": options.partition} if options.partition else {}),
    )
    runs = js.run(plan, store=options.store, executor=executor)
    print("final loss, median over seeds:")
    print(runs["loss"].isel(step=-1).median("seed").to_pandas().round(4))


if __name__ == "__main__":
    main()
