"""Pages for operators: settings, metrics, files of the data folder, fields of log lines, queue settings."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from bindings.queue_delivery import DeliverySettings
from cli import settings
from cli.serve_settings import ServeSettings
from control.resources.queue_consumers import SettingsRequest
from control.resources.queues import SettingsRequest as QueueSettingsRequest
from model.queues import ConsumerSettings, QueueSettings
from observability import metrics
from observability.access_log import FIELDS
from processes.restarts import RestartPolicy
from tests.docs.pages import all_pages, code, number, read, table

OPERATING = read("operating.md")
ARCHITECTURE = read("architecture.md")


@pytest.mark.parametrize("name", [field.name for field in fields(ServeSettings)])
def test_every_setting_is_in_its_page(name: str) -> None:
    row = next(row for row in settings.SERVE if row.name == name)
    # What is secret has no flag.
    assert not row.flag or f"`--{name.replace('_', '-')}`" in read("settings.md")
    assert f"`TENANTRY_{name.upper()}`" in read("settings.md")


@pytest.mark.parametrize("metric", metrics.METRICS, ids=lambda metric: metric.name)
def test_every_metric_is_in_its_page(metric: metrics.Metric) -> None:
    assert f"`{metric.name}`" in read("metrics.md")


def test_every_metric_and_setting_that_a_page_names_is_there() -> None:
    variables = {row.env for row in (*settings.SERVE, *settings.CLIENT)}
    for page in all_pages():
        text = page.read_text()
        for name in re.findall(r"\btenantry_[a-z_]+\b", text):
            assert name in {"tenantry_v1", *metrics.BY_NAME}, f"{page.name}: there is no metric {name}"
        for name in re.findall(r"\bTENANTRY_[A-Z_]+\b", text):
            assert name in variables, f"{page.name}: there is no variable {name}"


def test_every_field_of_an_access_line_is_named() -> None:
    (row,) = [row for row in table(OPERATING, "## Metrics and logs") if row[0] == "stdout"]
    told = [name for name in re.findall(r"`([a-z_]+)`", row[1]) if name != "event"]
    assert sorted(told) == sorted(FIELDS)


def test_restarts_are_as_the_policy_says() -> None:
    policy = RestartPolicy()
    assert f"after {policy.first_s:g}, " in ARCHITECTURE
    assert f"… {policy.max_s:g} s; after {policy.reset_after_s:g} s of life" in ARCHITECTURE.replace(
        "\n", " "
    )
    assert policy.crash_loop_deaths == 5
    assert "Five deaths within a minute" in ARCHITECTURE
    assert policy.crash_loop_window_s == 60


def test_settings_of_a_consumer_and_their_defaults() -> None:
    told = {code(row[0]): row[3] for row in table(read("queues.md"), "## A consumer's settings")}
    assert set(told) == set(SettingsRequest.__struct_fields__)
    defaults = ConsumerSettings()
    assert (told["max_concurrency"], defaults.max_concurrency) == ("one a process", None)
    assert number(told["visibility_timeout_ms"]) == defaults.visibility_timeout_ms
    assert number(told["batch_size"]) == defaults.batch_size
    assert number(told["max_wait_time_ms"]) == defaults.max_wait_ms
    assert number(told["max_retries"]) == defaults.max_retries
    assert number(told["retry_delay"]) == defaults.retry_delay_s


def test_settings_of_a_queue_and_their_defaults() -> None:
    told = {code(row[0]): row[3] for row in table(read("queues.md"), "## A queue's settings")}
    assert set(told) == set(QueueSettingsRequest.__struct_fields__)
    defaults = QueueSettings()
    assert told["delivery_paused"] == str(defaults.delivery_paused).lower()
    assert number(told["delivery_delay"]) == defaults.delivery_delay_s
    assert number(told["message_retention_period"]) == defaults.retention_s


def test_delivery_is_as_the_page_says() -> None:
    page = read("queues.md")
    assert f"after up to {DeliverySettings().lease_s:g} s" in page
    assert f"at most {DeliverySettings().running} batches" in page
