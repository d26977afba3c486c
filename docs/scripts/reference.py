# SPDX-License-Identifier: Apache-2.0
"""The reference pages, made from the code: `make docs` runs this file, and a test holds that the pages are current."""

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from importlib import import_module
from operator import attrgetter
from pathlib import Path

import flap_sam
import typer
from fields import one_line, section, table
from flap_sam.commands.main import app
from flap_sam.commands.tables import options
from flap_sam.config.experiment import METHODS, Experiment
from flap_sam.errors import OF_NO_DATA, Reason
from flap_sam.foundation.text import markdown_table
from flap_sam.gate import agreement
from flap_sam.records import cell, results, round_log, run_record, scores
from flap_sam.records.scores import Evaluation
from flap_sam.report import closing
from flap_sam.sam.inventory import inventory
from flap_sam.wire import messages
from flap_sam.wire.messages import METRICS, TrainReport
from pydantic import BaseModel

PACKAGE = Path(flap_sam.__file__).parent
FOLDER = Path(__file__).parents[1] / "reference"
MADE = "Made from the code by `make docs`. Change the code, not this page.\n"
FILES = {
    "global_final.safetensors": "the payload after the last round; the experiment is in its metadata",
    "global_best.safetensors": "the payload with the best validation Dice",
    "rounds.jsonl": "one line a round: who counted, who was refused and why, who was missing; Dice, loss, seconds, "
    "bytes and norm of every site; what the SVD kept and dropped of every layer",
    "run.json": "when and how the run was conducted, by which versions, with which sites",
    "test_dice.json": "Dice of both payloads on every site's test cases: mean and spread by class, of how many cases, "
    "what was missed, and in how many others it was found; and which sites scored another network than the payload's "
    "file makes (a lower rank, mixture weights of their own, rounded numbers)",
}
BESIDE = {"Model": "inference.model:Model.load", "segment": "inference.segmentation:Segmentation"}
FURTHER = (
    "config.job:Job",
    "records.results:read_test_dice",
    "records.round_log:read",
    "data.store:SiteStore",
    "data.store:SiteStore.open",
    "wire.payload:Payload",
    "inference.intensities:conventions",
    "inference.segment:Segmenter",
    "lowrank.strategies:Strategy",
    "config.strategies:StrategyTraits",
)


def pages() -> dict[str, Callable[[], str]]:
    """What makes each page, by its file name."""
    return {
        "commands.md": commands_page,
        "options.md": options.markdown,
        "files.md": files_page,
        "messages.md": messages_page,
        "gate.md": gate_page,
        "python.md": python_page,
    }


# Commands


def commands_page() -> str:
    """Every command with its arguments and options, in the order of the command's own help."""
    group = typer.main.get_command(app)
    parts = ["# Commands", "", MADE, "`flap-sam COMMAND --help` shows the same in the terminal.", ""]
    panel = None
    for name, command in group.commands.items():
        if command.rich_help_panel != panel:
            panel = command.rich_help_panel
            parts += [f"## {panel}", ""]
        parts += [line for title, found in _leaves(name, command) for line in _command(title, found)]
    return "\n".join(parts)


def _leaves(title: str, command: object) -> Iterator[tuple[str, object]]:
    """A command, or those of a group of commands, under the names by which they are called."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield title, command
        return
    for name, found in inner.items():
        yield from _leaves(f"{title} {name}", found)


def _command(title: str, command: object) -> list[str]:
    told = [p for p in command.params if p.name != "help"]
    arguments = [p for p in told if p.param_type_name == "argument"]
    usage = " ".join(_argument(p) if p.required else f"[{_argument(p)}]" for p in arguments)
    rows = [[_parameter(p), _needed(p), one_line(getattr(p, "help", None) or "")] for p in told]
    return [
        f"### `flap-sam {title}`",
        "",
        *([f"`flap-sam {title} {usage}`", ""] if usage else []),
        inspect.cleandoc(command.help or ""),
        "",
        markdown_table(("argument or option", "default", "meaning"), rows) if rows else "It takes no options.\n",
    ]


def _parameter(parameter: object) -> str:
    if parameter.param_type_name == "argument":
        return f"`{_argument(parameter)}`"
    names = [f"`{name}`" for name in parameter.opts]
    variables = [parameter.envvar] if isinstance(parameter.envvar, str) else parameter.envvar or []
    return ", ".join(names + [f"`{variable}`" for variable in variables])


def _argument(parameter: object) -> str:
    return parameter.metavar or parameter.name.upper()


def _needed(parameter: object) -> str:
    if parameter.required:
        return "required"
    default = parameter.default
    return "" if default in (None, False, "", [], ()) else f"`{default}`"


# Files


def files_page() -> str:
    """The files that a run leaves, and every field of those that hold JSON."""
    rows = [[f"`{name}`", FILES[name]] for name, _ in closing.MEANINGS]
    return "\n".join(
        [
            "# Files of a run",
            "",
            MADE,
            "A run leaves these in its results folder: `WORK/JOB/server/simulate_job/results` after `flap-sam "
            "simulate`, `JOB/results` in a job that FLARE has downloaded, and the folder `--out` after "
            "`flap-sam train`.",
            "",
            markdown_table(("file", "what it is"), rows),
            "A payload (`.safetensors`) holds the trained tensors as float32, and in its metadata the experiment, the "
            "run, and the hashes of the weights that it was trained from.",
            "",
            *section(f"`{round_log.ROUND_LOG}`, one line a round", round_log.RoundRecord),
            *section("`SiteRecord`: one site in a round", round_log.SiteRecord),
            *section("`LayerRecord`: one layer in a round", round_log.LayerRecord),
            *section(f"`{run_record.RUN_RECORD}`", run_record.RunRecord),
            *section("`Attempt`: one job of a run", run_record.Attempt),
            *section(f"`{results.TEST_DICE}`", results.Scores),
            *section("`Evaluation`: one payload at one site", scores.Evaluation),
            "## Files of a comparison",
            "",
            f"`flap-sam compare` writes `table.md` and `cells.jsonl`, and into the folder of each run a `{cell.CELL}` "
            "with the fields below. In `cells.jsonl`, and beside a page (`--page`), every line also has the run's "
            "test Dice and traffic.",
            "",
            *section("A finished run of a comparison", cell.FinishedCell),
            *section("`Data`: what was trained on", cell.Data),
        ]
    )


# Messages


def messages_page() -> str:
    """What the server and a site tell each other."""
    methods = []
    for method in METHODS:
        found = inventory(Experiment(method=method, backbone="vit_b", image_size=224))
        methods.append([f"`{method}`", f"{found.whole.trained:,}", f"{found.megabytes:.1f}"])
    withheld = ", ".join(f"`{name}`" for name in METRICS)
    spoken = f"the version of the messages, {messages.SPOKEN}; each side refuses those of another version"
    reasons = [[f"`{reason}`", reason.sentence, "no" if reason in OF_NO_DATA else "yes"] for reason in Reason]
    return "\n".join(
        [
            "# Messages",
            "",
            MADE,
            "All that the server and a site tell each other about a run is listed here. Both sides check each message "
            "as a whole (names, shapes, types, ranges, finiteness) before they use any of it.",
            "",
            "## From the server to a site",
            "",
            f"A task, `{messages.TASK_TRAIN}` or `{messages.TASK_EVALUATE}`, with the payload's tensors (none in the "
            "first round of a run that starts from the sites' own weights), and with",
            "",
            markdown_table(
                ("entry", "what it is"),
                [
                    [f"`{messages.EXPERIMENT}`", "the experiment, as JSON"],
                    [f"`{messages.RUN}`", "the name of the run, under which each party keeps its state"],
                    [f"`{messages.VERSION}`", spoken],
                ],
            ),
            "## From a site to the server",
            "",
            "The tensors that the experiment's method trains and sends. `flap-sam params` counts them for any "
            "experiment; for `vit_b` at 224 pixels, with two classes and rank 32:",
            "",
            markdown_table(("method", "numbers that train", "MB a round, each way"), methods),
            f"Beside the tensors, `{messages.VERSION}` as above, and one report under `{messages.REPORT}`. A site's "
            f"gate may withhold some of the report's numbers ({withheld}); they then leave as null.",
            "",
            *section(f"Report on a round (`{messages.TASK_TRAIN}`)", TrainReport, "###"),
            *section(f"Report on a payload (`{messages.TASK_EVALUATE}`)", Evaluation, "###"),
            "## When something fails",
            "",
            f"A site that gives no answer sends one word of this list under `{messages.REASON}`. The server's log "
            "shows the sentence beside it. The last column says whether the site's data may have a part in it; "
            "such a failure counts as an answer at the site's gate.",
            "",
            markdown_table(("word", "the site's answer is missing because", "may depend on data"), reasons),
        ]
    )


def gate_page() -> str:
    """What a site's agreement may say."""
    return "\n".join(
        [
            f"# Settings of a gate: `{agreement.FILE_NAME}`",
            "",
            MADE,
            "The file is the hospital's own and lies in the kit's folder `local/`. It is read anew for every task; no "
            "job and no server can change it.",
            "",
            table(agreement.Agreement),
            *section("Differential privacy: `privacy`", agreement.Privacy),
        ]
    )


# Python


def python_page() -> str:
    """The names of the package itself, the rooms, and what else a script starts from."""
    rooms = [[f"`{path.parent.name}`", _sentence(path)] for path in sorted(PACKAGE.glob("*/__init__.py"))]
    parts = ["# Python", "", MADE, "```text", inspect.getdoc(flap_sam), "```", ""]
    for name in flap_sam.PLACES:
        parts += [f"## `flap_sam.{name}`", "", *_entry(name, getattr(flap_sam, name))]
        if name in BESIDE:
            parts += _place(BESIDE[name], "###")
    parts += ["## What lies below", "", "The package's rooms:", "", markdown_table(("room", "what it holds"), rooms)]
    parts += ["A script may also ask for", ""]
    for place in FURTHER:
        parts += _place(place, "###")
    return "\n".join(parts)


def _place(place: str, level: str) -> list[str]:
    """The entry of what is found in a module, such as `inference.model:Model.load`."""
    module, _, name = place.partition(":")
    found = attrgetter(name)(import_module(f"flap_sam.{module}"))
    return [f"{level} `flap_sam.{module}.{name}`", "", *_entry(name, found)]


def _sentence(face: Path) -> str:
    return ast.get_docstring(ast.parse(face.read_text())).partition("\n\n")[0].replace("\n", " ")


def _entry(name: str, found: object) -> list[str]:
    about, *rest = re.split(r"\n\n(?=(?:Args|Returns|Raises):\n)", inspect.getdoc(found))
    fielded = inspect.isclass(found) and (is_dataclass(found) or issubclass(found, BaseModel))
    lines = [] if fielded else ["```python", _signature(name, found), "```", ""]
    lines += [about, ""]
    if fielded and found not in {group.kind for group in options.GROUPS}:
        lines += [table(found)]
    elif fielded:
        lines += ["Its settings are listed in [Settings](options.md).", ""]
    elif rest:
        lines += ["```text", "\n\n".join(rest), "```", ""]
    return lines


def _signature(name: str, found: object) -> str:
    """A call with its parameters and their types, a line each, and the type of what it gives."""
    signature, lines = inspect.signature(found), []
    parameters = [_declared(p) for p in signature.parameters.values() if p.name != "self"]
    for number, parameter in enumerate(parameters):
        if parameter.kind is parameter.KEYWORD_ONLY and parameters[number - 1].kind is not parameter.KEYWORD_ONLY:
            lines.append("    *,")
        lines.append(f"    {_short(str(parameter))},")
    given = signature.return_annotation
    gives = "" if given in (signature.empty, None) else _short(inspect.formatannotation(given)).strip("'")
    return "\n".join([f"{name}(", *lines, f") -> {gives}" if gives else ")"])


def _short(types: str) -> str:
    return re.sub(r"(?:\w+\.)+(\w+)", r"\1", types).replace("Ellipsis", "...")


def _declared(parameter: inspect.Parameter) -> inspect.Parameter:
    """A parameter, `...` in place of a default that is a function."""
    return parameter.replace(default=...) if inspect.isfunction(parameter.default) else parameter


def main() -> None:
    """Write the pages."""
    for name, page in pages().items():
        (FOLDER / name).write_text(page())


if __name__ == "__main__":
    main()
