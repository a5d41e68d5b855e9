"""In which order the examples of a group are shown."""

ORDER = [
    # First steps.
    "plot_quickstart.py",
    "plot_speed_and_accuracy.py",
    # Forget, add, correct.
    "plot_erasure_requests.py",
    "plot_sliding_window.py",
    "plot_pipelines.py",
    "plot_rows_in_files.py",
    "plot_publication.py",
    "plot_hyperparameters.py",
    "plot_early_stopping.py",
    # What rows mean to a model.
    "plot_robust_cleaning.py",
    "plot_data_values.py",
    "plot_prediction_intervals.py",
    "plot_jackknife_bias.py",
]


class ExampleOrder:
    """A key to sort file names by; those that are not listed come last."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, name):
        return ORDER.index(name) if name in ORDER else len(ORDER)

    def __repr__(self):
        return "<ExampleOrder>"
