"""An application and what is said of it elsewhere: settings from objects, annotations, moments, modules to load."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from kernel import Kernel, shared_task
from kernel.clock import FakeClock
from kernel.envelope import decode
from kernel.errors import ConfigError
from kernel.hooks import hookimpl
from kernel.loading import load_tasks
from kernel.ports import Peeks
from kernel.routing import Broadcast, Queue
from kernel.worker.worker import Worker


def memory(**options: Any) -> Kernel:
    """An application on a fresh space of the memory adapter."""
    return Kernel("shop", transport=f"memory://{uuid4()}", **options)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory of its own, whose modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


def sent(app: Kernel, queue: str) -> list[tuple[str, int]]:
    """Name and priority of what waits in a queue."""
    transport = app.ports.transport
    assert isinstance(transport, Peeks)
    frames = [decode(payload) for payload in transport.peek(queue, 10)]
    return [(frame.task, frame.extra.get(3, 0)) for frame in frames]


# -- settings ------------------------------------------------------------------------------------------------


def test_every_source_wins_over_those_before_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Plugin:
        @hookimpl
        def kernel_configure(self) -> dict[str, object]:
            return {"max_retries": 3, "grace": 3.0, "lease": 3.0, "max_tasks": 3, "send_timeout": 3.0}

    (place / "kernel.toml").write_text(
        "priority = 2\nmax_retries = 2\ngrace = 2\nlease = 2\nmax_tasks = 2\nsend_timeout = 2\n"
    )
    (place / "shop_settings.py").write_text("grace = 4.0\nlease = 4.0\nmax_tasks = 4\nsend_timeout = 4.0\n")
    monkeypatch.setenv("KERNEL_LEASE", "5")
    monkeypatch.setenv("KERNEL_MAX_TASKS", "5")
    monkeypatch.setenv("KERNEL_SEND_TIMEOUT", "5")
    app = Kernel("shop", plugins=[Plugin()], send_timeout=7.0)
    app.command_line["max_tasks"] = 6
    app.command_line["send_timeout"] = 6.0
    app.add_defaults({"result_expires": 1.0, "priority": 1})
    app.config_from_object("shop_settings")
    tasks, worker, sources = app.config.tasks, app.config.worker, app.config.sources
    assert (tasks.result_expires, sources["result_expires"]) == (1.0, "added default")
    assert (tasks.priority, sources["priority"]) == (2, "kernel.toml")
    assert (tasks.max_retries, sources["max_retries"]) == (3, "plugin")
    assert (worker.grace, sources["grace"]) == (4.0, "shop_settings")
    assert (worker.lease, sources["lease"]) == (5.0, "KERNEL_LEASE")
    assert (worker.max_tasks, sources["max_tasks"]) == (6, "command line")
    assert (tasks.send_timeout, sources["send_timeout"]) == (7.0, "code")


def test_an_object_with_a_namespace_has_other_names_beside_it() -> None:
    settings = SimpleNamespace(KERNEL_QUEUE="mail", DEBUG=True, queue="not mine", KERNEL_ROUTES={"a": "b"})
    app = Kernel("shop")
    app.config_from_object(settings, namespace="KERNEL")
    assert (app.config.tasks.queue, app.config.sources["queue"]) == ("mail", "SimpleNamespace")
    assert app.router.path("a").route.queue == "b"
    app.config_from_object(SimpleNamespace(KERNEL_QUEU="mail"), namespace="KERNEL")
    with pytest.raises(ConfigError, match=r"unknown setting 'queu'; did you mean 'queue'\?"):
        app.config  # noqa: B018


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"que": 1}, "a mapping: unknown setting 'que'; did you mean 'queue'?"),
        ({3: 1}, "a mapping: unknown setting 3; settings have names"),
        ({"broker_url": "x"}, "a mapping: unknown setting 'broker_url'; Celery's broker_url is 'transport' here"),
        (SimpleNamespace(task_routes={}), "unknown setting 'task_routes'; Celery's task_routes is 'routes' here"),
        (SimpleNamespace(CELERY_RESULT_BACKEND=""), "Celery's result_backend is 'results' here"),
        (SimpleNamespace(TRANSPORT="x"), "SimpleNamespace: unknown setting 'TRANSPORT'; did you mean 'transport'?"),
        (SimpleNamespace(queue=3), "SimpleNamespace: queue must be a string, not 3"),
        ("no_such_module", "no module 'no_such_module'"),
        ("os:no_such_thing", "os has no attribute 'no_such_thing'"),
        ({"timezone": "Mars/Base"}, "a mapping: timezone: 'Mars/Base' is no time zone, such as Europe/Berlin or UTC"),
        ({"annotations": {"a": {"prioritty": 3}}}, "annotations: a: unknown task option 'prioritty': did you mean"),
        ({"annotations": {"a": {"name": "b"}}}, "annotations: a: name is a matter of the task's own declaration"),
        ({"annotations": ["a"]}, "annotations: annotations are a mapping of task names to options"),
        ({"routes": {"a": 3}}, "a mapping: routes: a route is the name of a queue or a mapping, not 3"),
    ],
)
def test_what_cannot_be_a_setting_is_one_line_that_names_its_place(settings: Any, message: str) -> None:
    app = Kernel("shop")
    app.config_from_object(settings)
    with pytest.raises(ConfigError) as caught:
        app.config  # noqa: B018
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_else_a_module_has_is_no_setting(place: Path) -> None:
    (place / "plain_settings.py").write_text("import os\nfrom pathlib import Path\nBASE = Path()\nqueue = 'mail'\n")
    app = Kernel("shop")
    app.config_from_object("plain_settings")
    assert app.config.sources == {"queue": "plain_settings"}


def test_a_module_that_is_not_there_may_be_missed() -> None:
    app = Kernel("shop")
    app.config_from_object("no_such_module", silent=True)
    assert app.config.tasks.queue == "default"


def test_a_module_that_fails_is_never_missed(place: Path) -> None:
    (place / "broken_settings.py").write_text("1 / 0\n")
    app = Kernel("shop")
    app.config_from_object("broken_settings", silent=True)
    with pytest.raises(ConfigError, match="broken_settings cannot be imported: ZeroDivisionError"):
        app.config  # noqa: B018


def test_a_variable_names_the_place(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    (place / "env_settings.py").write_text("class Test:\n    queue = 'mail'\n")
    app = Kernel("shop")
    app.config_from_envvar("SHOP_SETTINGS", silent=True)
    with pytest.raises(ConfigError, match="the environment variable SHOP_SETTINGS is not set"):
        app.config_from_envvar("SHOP_SETTINGS")
    monkeypatch.setenv("SHOP_SETTINGS", "env_settings:Test")
    app.config_from_envvar("SHOP_SETTINGS")
    assert app.config.tasks.queue == "mail"


def test_settings_are_for_before_the_first_call() -> None:
    with memory() as app:
        assert app.config.tasks.queue == "default"
        app.configure(queue="mail")
        assert app.config.tasks.queue == "mail"
        with pytest.raises(ConfigError, match="code: unknown setting 'que'"):
            app.configure(que="mail")
        app.send_task("work")
        changes: list[Callable[[], None]] = [
            lambda: app.configure(queue="x"),
            lambda: app.config_from_object({}),
            lambda: app.add_defaults({}),
        ]
        for change in changes:
            with pytest.raises(ConfigError, match=r"open already: change its configuration before the first task"):
                change()


def test_variables_have_structure_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERNEL_ROUTES", '{"mail.*": {"queue": "mail", "priority": 5}}')
    monkeypatch.setenv("KERNEL_DECLARED_QUEUES", "mail, default")
    monkeypatch.setenv("KERNEL_ANNOTATIONS", "{oops")
    app = Kernel("shop")
    with pytest.raises(ConfigError, match=r"^KERNEL_ANNOTATIONS: annotations: "):
        app.config  # noqa: B018
    monkeypatch.delenv("KERNEL_ANNOTATIONS")
    assert list(app.router.queues) == ["mail", "default"]
    assert app.router.path("mail.send").route.priority == 5


def test_a_secret_is_in_no_view() -> None:
    app = Kernel("shop", transport="redis://user:hunter2@host/0", routes={"a": "b"}, annotations={"a": {"priority": 1}})
    views = [repr(app.config.describe()), app.bugreport(), repr(app), repr(app.config.ports)]
    assert [view for view in views if "hunter2" in view] == []
    assert "redis://user:***@host/0" in app.bugreport()
    with pytest.raises(ConfigError) as caught:
        Kernel("shop", result=("redis://user:hunter2@host/0",))
    assert "hunter2" not in str(caught.value)


# -- tasks ---------------------------------------------------------------------------------------------------


def test_annotations_are_stronger_than_the_task_and_weaker_than_the_call() -> None:
    with memory(annotations={"work": {"priority": 7}, "*": {"queue": "all", "priority": 1}}) as app:

        @app.task(name="work", priority=3, queue="own")
        def work() -> None: ...

        work.delay()
        work.apply_async(priority=9)
        assert sent(app, "all") == [("work", 9), ("work", 7)]
        assert app.tasks["work"].options["priority"] == 7


def test_a_task_that_is_declared_late_is_annotated_too() -> None:
    with memory(annotations={"late": {"queue": "other"}}) as app:
        app.finalize()

        @app.task(name="late")
        def late() -> None: ...

        late.delay()
        assert sent(app, "other") == [("late", 0)]


def test_annotations_of_one_application_leave_the_other_alone() -> None:
    @shared_task(name="everywhere")
    def everywhere() -> None: ...

    first, second = memory(annotations={"everywhere": {"queue": "first"}}), memory()
    with first, second:
        first.send_many(first.tasks["everywhere"], [()])
        second.send_many(second.tasks["everywhere"], [()])
        assert sent(first, "first") == sent(second, "default") == [("everywhere", 0)]
        assert "queue" not in everywhere.options


def test_another_configuration_brings_other_annotations() -> None:
    app = memory(annotations={"work": {"priority": 7}})

    @app.task(name="work", priority=3)
    def work() -> None: ...

    assert app.tasks["work"].options["priority"] == 7
    app.configure(annotations={})
    assert app.tasks["work"].options["priority"] == 3


def test_names_may_be_made_differently() -> None:
    class Shop(Kernel):
        def gen_task_name(self, name: str, module: str) -> str:
            return f"shop/{name.rpartition('.')[2]}"

    app = Shop("shop")

    @app.task
    def work() -> None: ...

    assert work.name == "shop/work"


def test_two_tasks_of_one_name_are_refused() -> None:
    app = Kernel("shop")
    app.task(name="work")(lambda: 1)
    with pytest.raises(ConfigError, match="two tasks are called 'work'"):
        app.task(name="work")(lambda: 2)
    shared_task(name="work")(lambda: 1)
    with pytest.raises(ConfigError, match="two tasks are called 'work'"):
        shared_task(name="work")(lambda: 2)


def test_a_task_of_another_application_is_refused() -> None:
    first, second = Kernel("first"), Kernel("second")

    @first.task(name="work")
    def work() -> None: ...

    with pytest.raises(ConfigError, match="work is a task of <Kernel first>, not of <Kernel second>: send it there"):
        second.send_many(work, [()])


# -- moments -------------------------------------------------------------------------------------------------


def test_moments_come_once_and_in_order() -> None:
    told: list[str] = []

    class Plugin:
        @hookimpl
        def kernel_configured(self, app: Kernel) -> None:
            told.append(f"plugin configured {app.config.tasks.queue}")

        @hookimpl
        def kernel_finalized(self, app: Kernel) -> None:
            told.append("plugin finalized")

    with memory(plugins=[Plugin()]) as app:

        @app.on_configure.connect
        def before(sender: Kernel, **_: Any) -> None:
            told.append("configure")
            sender.add_defaults({"queue": "of the moment"})

        app.on_after_configure.connect(lambda app: told.append(f"configured {app.config.tasks.queue}"))
        app.on_after_finalize.connect(lambda app: told.append(f"finalized {len(app.tasks)}"))
        app.task(name="work")(lambda: 1).delay()
        expected = ["configure", "configured of the moment", "plugin configured of the moment"]
        assert told == [*expected, "finalized 1", "plugin finalized"]
        app.close()
        app.send_task("work")
        assert len(told) == 5


def test_what_adds_to_the_configuration_cannot_read_it() -> None:
    app = Kernel("shop")
    app.on_configure.connect(lambda app: app.config)
    with pytest.raises(ConfigError, match="on_configure and defaults cannot read it"):
        app.config  # noqa: B018
    other = Kernel("shop")
    other.add_defaults(lambda: {"queue": other.config.tasks.queue})
    with pytest.raises(ConfigError, match="cannot read it"):
        other.config  # noqa: B018


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_is_told() -> None:
    app = Kernel("shop")
    app.on_after_fork.connect(lambda app: os._exit(7))
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


# -- modules -------------------------------------------------------------------------------------------------


def test_modules_with_tasks_are_loaded(place: Path) -> None:
    for name in ("one", "two", "three"):
        (place / name).mkdir()
        (place / name / "__init__.py").write_text("")
    (place / "one" / "tasks.py").write_text("from kernel import shared_task\n@shared_task\ndef a(): ...\n")
    (place / "two" / "jobs.py").write_text("from kernel import shared_task\n@shared_task\ndef b(): ...\n")
    (place / "three" / "tasks.py").write_text("from kernel import shared_task\n@shared_task\ndef c(): ...\n")
    (place / "four.py").write_text("from kernel import shared_task\n@shared_task\ndef d(): ...\n")

    class Framework:
        @hookimpl
        def kernel_discover(self) -> list[str]:
            return ["three"]

    app = memory(include=["four"], plugins=[Framework()])
    app.autodiscover_tasks(["one", "two"])
    app.autodiscover_tasks(lambda: ["two"], related_name="jobs")
    app.autodiscover_tasks()
    assert app.tasks.keys() == set()
    load_tasks(app)
    assert sorted(app.tasks) == ["four.d", "one.tasks.a", "three.tasks.c", "two.jobs.b"]


@pytest.mark.parametrize(
    ("setting", "message"), [("nothing", "no module 'nothing'"), ("bad", "bad cannot be imported: ZeroDivisionError")]
)
def test_a_module_that_cannot_be_loaded_is_told(place: Path, setting: str, message: str) -> None:
    (place / "bad.py").write_text("1 / 0\n")
    with pytest.raises(ConfigError, match=message):
        load_tasks(memory(imports=[setting]))


def test_a_module_of_tasks_that_fails_is_not_overlooked(place: Path) -> None:
    (place / "failing").mkdir()
    (place / "failing" / "__init__.py").write_text("")
    (place / "failing" / "tasks.py").write_text("import no_such_thing\n")
    app = memory()
    app.autodiscover_tasks(["failing"])
    with pytest.raises(ConfigError, match=r"failing.tasks cannot be imported: ModuleNotFoundError"):
        load_tasks(app)


def test_an_annotation_for_a_task_that_is_not_there_is_told(caplog: pytest.LogCaptureFixture) -> None:
    app = memory(annotations={"shop.wrok": {"priority": 1}, "mail.*": {"priority": 1}, "shop.work": {"priority": 2}})
    app.task(name="shop.work")(lambda: 1)
    load_tasks(app)
    assert caplog.messages == [
        "annotations name the task 'shop.wrok', which is not known here; did you mean 'shop.work'?"
    ]


# -- time zone -----------------------------------------------------------------------------------------------


def test_a_datetime_without_a_zone_is_one_of_the_time_zone() -> None:
    clock = FakeClock()
    berlin = Kernel("shop", timezone="Europe/Berlin", clock=clock)
    assert berlin.now().utcoffset() in (timedelta(hours=1), timedelta(hours=2))
    assert Kernel("shop", clock=clock).now() == berlin.now() == datetime.fromtimestamp(clock.now(), UTC)
    with memory(timezone="Europe/Berlin") as app:
        work = app.task(name="work")(lambda: 1)
        work.apply_async(eta=datetime(2030, 7, 1, 12), expires=datetime(2030, 1, 1, 12))
        transport = app.ports.transport
        assert isinstance(transport, Peeks)
        envelope = decode(transport.peek("default", 1)[0])
        moments = {value for value in envelope.extra.values() if isinstance(value, float)}
        expected = {datetime(2030, 7, 1, 10, tzinfo=UTC), datetime(2030, 1, 1, 11, tzinfo=UTC)}
        assert moments == {moment.timestamp() for moment in expected}


# -- routes --------------------------------------------------------------------------------------------------


def test_routes_are_those_of_every_way_to_call() -> None:
    with memory(routes={"mail.*": {"queue": "mail", "priority": 4}}) as app:
        mail = app.task(name="mail.send")(lambda number=0: number)
        mail.delay()
        mail.apply_async(priority=2)
        app.send_task("mail.unknown")
        app.send_many(mail, [(1,)])
        with app.batch():
            mail.delay()
        expected = [("mail.send", 4)] * 3 + [("mail.unknown", 4), ("mail.send", 2)]
        assert sorted(sent(app, "mail")) == sorted(expected)


def test_a_queue_that_is_not_declared_is_refused_at_the_caller_and_by_the_worker() -> None:
    with memory(declared_queues=[Queue("mail", priority=5)], create_missing_queues=False, queues=["mial"]) as app:
        with pytest.raises(ConfigError, match=r"work: queue 'mial' is not declared; did you mean 'mail'\?"):
            app.send_task("work", queue="mial")
        app.send_task("work", queue="mail")
        assert sent(app, "mail") == [("work", 5)]
        with pytest.raises(ConfigError, match=r"this worker: queue 'mial' is not declared; did you mean 'mail'\?"):
            Worker(app).run()


def test_a_function_in_a_module_may_route(place: Path) -> None:
    (place / "shop_routes.py").write_text("def choose(name, args, kwargs, options): return args[0]\n")
    with memory(routes="shop_routes:choose") as app:
        app.send_task("work", ("there",))
        assert sent(app, "there") == [("work", 0)]


def test_a_broadcast_queue_is_declared_like_others() -> None:
    assert list(Kernel("shop", declared_queues=[Broadcast("all")]).router.queues) == ["all"]
