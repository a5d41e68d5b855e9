"""A first look at speed: unlearn 1% of MNIST and compare with the exact retrain.

Ten classes, batches of 16,384, 20 epochs, mean-scale weight decay 1e-4, learning rate
0.1 for ten epochs and 0.05 for ten; burn-in 20, period 5, two L-BFGS pairs. 32 of 80
steps are exact, so that a replay takes at least 0.4 of the retrain's time.

    python examples/benchmarks/first_look.py --data-dir DIR
"""

from copy import deepcopy

import _data
import numpy as np
from _command import parser
from _timing import timed

from skdeltagrad import DeltaGradLogisticRegression


def main():
    command = parser(__doc__, data=True)
    command.add_argument("--draws", type=int, default=5, help="random sets of rows")
    options = command.parse_args()
    X, y = _data.mnist(options.data_dir)
    estimator = DeltaGradLogisticRegression(
        C=1 / (1e-4 * len(X)),
        solver="sgd",
        batch_size=16_384,
        max_iter=20,
        learning_rate=np.repeat([0.1, 0.05], 10),
        burn_in=20,
        period=5,
        history_size=2,
        random_state=0,
    ).fit(X, y)
    print(f"{estimator.update_report_}\ntraining accuracy {estimator.score(X, y):.4f}")
    deepcopy(estimator).unlearn(position=0)  # compiles the kernels of edits
    ratios, errors = [], []
    for draw in range(options.draws):
        gone = np.random.default_rng(draw).choice(len(X), len(X) // 100, replace=False)
        edited = deepcopy(estimator)
        replay = timed(edited.unlearn, position=gone).wall
        replayed = edited.coef_
        retrain = timed(edited.partial_refit).wall
        errors.append(
            np.linalg.norm(replayed - edited.coef_)
            / np.linalg.norm(estimator.coef_ - edited.coef_)
        )
        ratios.append(replay / retrain)
        print(
            f"draw {draw}: replay {replay:.3f} s, exact retrain {retrain:.3f} s, "
            f"ratio {ratios[-1]:.3f}, error {errors[-1]:.2e}"
        )
    print(f"median ratio {np.median(ratios):.3f}, largest error {max(errors):.2e}")


if __name__ == "__main__":
    main()
