"""In which order the examples are shown."""

ORDER = [
    # First steps.
    "plot_quickstart.py",
    "plot_pipelines.py",
    "plot_speed_and_accuracy.py",
    # The paper's applications.
    "plot_erasure_requests.py",
    "plot_robust_cleaning.py",
    "plot_jackknife_bias.py",
    "plot_prediction_intervals.py",
    "plot_data_values.py",
    "plot_sliding_window.py",
    "plot_rows_in_files.py",
    # What remembers.
    "plot_publication.py",
    "plot_hyperparameters.py",
    "plot_early_stopping.py",
]


class ExampleOrder:
    """A key to sort file names by; those that are not listed come last."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, name):
        return ORDER.index(name) if name in ORDER else len(ORDER)

    def __repr__(self):
        return "<ExampleOrder>"
