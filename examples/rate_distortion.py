"""Train one VAE per weight of the KL, and draw what each pays for how good its reconstructions are.

python examples/rate_distortion.py                                 # digits, about a minute
python examples/rate_distortion.py --sweep-beta 0.5,1,2 --data mnist --epochs 20
"""

from pathlib import Path
from typing import Annotated

import typer

from pyrovae import plots
from pyrovae.config import parse_assignment, resolve
from pyrovae.run import Run


def main(
    sweep_beta: Annotated[str, typer.Option(help="Weights of the KL.")] = "0.1,0.25,0.5,1,2,4",
    data: Annotated[str, typer.Option(help="Source of the data, as of 'pyrovae train'.")] = "digits",
    data_dir: Annotated[str | None, typer.Option(help="Folder of downloaded data sets.")] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the training data.")] = 60,
    seed: int = 0,
    out: Annotated[Path, typer.Option(help="Where to write the figure.")] = Path("rate_distortion.png"),
) -> None:
    """Rate KL(q(z|x) || p(z)) and distortion -E_q[log p(x|z)] of the test data, in nats per datum."""
    common = {"seed": seed, "train": {"epochs": epochs}}
    source = {"data": {"source": data} | ({"dir": data_dir} if data_dir else {})}
    models = {}
    choices = {beta: parse_assignment(f"objective.beta={beta}") for beta in sweep_beta.split(",")}
    configs = {beta: resolve(common, source, choice) for beta, choice in choices.items()}
    for beta, config in configs.items():
        run = Run.start(config)
        for _ in run.train():
            pass
        rows, is_likelihood = run.evaluation_rows("test")
        found = run.evaluate(rows.batches(100), particles=100, is_likelihood=is_likelihood)
        terms = {row.key: row.mean for row in found.quantities}
        rate, distortion = terms["kl"], terms["reconstruction"]
        models[beta] = plots.Traded(rate.value, rate.data_error, -distortion.value, distortion.data_error)
        print(
            f"beta {beta:<5} rate {rate.value:6.2f} +- {rate.data_error:.3f}  distortion "
            f"{-distortion.value:7.2f} +- {distortion.data_error:.2f}  "
            f"-ELBO {-terms['elbo'].value:7.2f} +- {terms['elbo'].data_error:.2f}  nats per datum"
        )
    plots.save(plots.rate_distortion(models, title=f"{data}: test data, by the weight beta of the KL"), out)
    print(out)


if __name__ == "__main__":
    typer.run(main)
