"""Which activation suits this table? A scikit-learn grid search: python examples/sklearn_grid_search.py"""

from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

import nonlin as nl

if __name__ == "__main__":
    x, y = load_breast_cancer(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, stratify=y, random_state=0)
    network = Pipeline(
        [
            ("scale", StandardScaler()),
            ("mlp", nl.NonlinClassifier(hidden_layer_sizes=(16,), max_iter=10, random_state=0)),
        ]
    )
    folds = StratifiedKFold(n_splits=4, shuffle=True, random_state=0)
    grid = {"mlp__activation": ["relu", "gelu", "x"], "mlp__learning_rate": [0.003, 0.01]}
    search = GridSearchCV(network, grid, cv=folds).fit(x_train, y_train)

    table = search.cv_results_
    for k in sorted(range(len(table["params"])), key=lambda k: table["rank_test_score"][k]):
        setting = table["params"][k]
        spread = f"{table['mean_test_score'][k]:.4f} ± {table['std_test_score'][k]:.4f}"
        print(f"{spread}  {setting['mlp__activation']:5} rate {setting['mlp__learning_rate']:g}")
    print(f"report: best {search.best_params_['mlp__activation']}, test accuracy {search.score(x_test, y_test):.4f}.")
    print("x is a linear network: where it comes within a deviation of the best, the table needs no activation.")
