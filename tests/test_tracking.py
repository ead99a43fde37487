"""optuna-dashboard with a ledger of ours. ``test_pages.py`` runs the code of W&B's and MLflow's page."""

import io
import json
import shutil
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import optuna
import pytest

from tests.pages import ROOT

NEEDED = "optuna_dashboard is not installed: pip install 'sb3_ppo_variants[tracking]'"


@pytest.mark.filterwarnings("ignore")  # of its imports, and Optuna's of what is experimental
def test_optuna_dashboard_shows_a_study(tmp_path: Path) -> None:
    optuna_dashboard = pytest.importorskip("optuna_dashboard", reason=NEEDED)
    shutil.copy(ROOT / "tests/stored/tune/ledger.db", tmp_path)
    app = optuna_dashboard.wsgi(optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/ledger.db"))

    def get(path: str) -> Any:
        environ: dict[str, Any] = {"PATH_INFO": path, "QUERY_STRING": "", "wsgi.errors": io.StringIO()}
        setup_testing_defaults(environ)
        statuses: list[str] = []
        answer = b"".join(app(environ, lambda status, headers, error=None: statuses.append(status)))
        assert statuses == ["200 OK"]
        return json.loads(answer)

    studies = {study["study_name"]: study["study_id"] for study in get("/api/studies")["study_summaries"]}
    assert set(studies) == {"tune", "tune-confirmation"}
    search = get(f"/api/studies/{studies['tune']}")
    assert [p["name"] for p in search["trials"][0]["params"]] == ["clip_range", "n_epochs", "1 - gae_lambda"]
    assert len(get(f"/api/studies/{studies['tune-confirmation']}")["trials"]) == 20
