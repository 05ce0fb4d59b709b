"""The `tenantry` command: finds the command that was named, runs it, turns its end into an exit code.

A command's module is imported when that command is used: the whole tree takes 20 times as long to load as
`tenantry --help` may take. So the one-line helps are kept here, in the order of a first day's use.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Final

import click

from cli.errors import CliError, ExitCode

#: section → command → its one-line help. The module is cli.commands.<command>, its command `command`.
SECTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "Run a host": {
        "serve": "Run the host: the visitors' listener, the API, the workers.",
        "doctor": "Check this machine, the data folder and the running host.",
        "machines": "List the machines of the platform, and how far each is.",
        "token": "Make an API token.",
        "backup": "Copy the data folder of a host, in use or not, into one file.",
        "restore": "Make a data folder of a backup.",
        "migrate": "Bring the schema of a data folder and of a platform's database up to this release.",
        "fsck": "Check that all the host keeps is whole and fits together.",
    },
    "Deploy": {
        "init": "Make a folder with a worker to begin with.",
        "dev": "Run a worker here, and deploy it again at each change.",
        "deploy": "Upload a worker, with its bindings and hostnames.",
        "routes": "Say which requests reach which worker.",
        "scripts": "List, show and delete workers.",
        "namespaces": "List, make and delete dispatch namespaces.",
        "tenants": "Say what each tenant owns and may have; delete one.",
        "secrets": "Set a worker's secrets.",
        "policy": "Say where workers may connect to, and test it.",
        "material": "Keep secrets and certificates for egress policies.",
        "audit": "Show which requests left, and which were denied.",
    },
    "State and events": {
        "kv": "Read and write KV namespaces.",
        "d1": "Make SQL databases, query them, dump and restore.",
        "queues": "Make queues, send messages, attach consumers.",
        "analytics": "Query the data points that workers wrote.",
        "cron": "Run a worker's scheduled handler at its times.",
        "trigger": "Run a worker's scheduled handler now.",
        "logs": "Show what a worker wrote.",
    },
}

_COMMANDS: Final = {name: text for commands in SECTIONS.values() for name, text in commands.items()}


class LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = import_module(f"cli.commands.{cmd_name}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"cli.commands.{cmd_name}.command is no click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl(list(commands.items()))


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"tenantry {version('tenantry')}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="TENANTRY_URL, TENANTRY_TOKEN and TENANTRY_ACCOUNT say which host a client command speaks to; "
    "docs/settings.md has all. Exit codes: 0 done, 1 refused, 2 wrong usage, 3 no host answered, 4 no token "
    "or one that may not.",
)
@click.option(
    "--version", is_flag=True, callback=_print_version, expose_value=False, is_eager=True, help="Say which."
)
def command() -> None:
    """Run your customers' code on your own machines.

    \b
    A host, and a worker on it:
      tenantry serve --data ./data
      export TENANTRY_DATA=./data
      tenantry deploy hello.wasm --name hello --namespace production --hostname hello.localhost
      curl -H 'Host: hello.localhost' http://127.0.0.1:8787/
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (sys.argv's by default) and return its exit code. Never raises for a refusal."""
    try:
        result = command.main(args=arguments, prog_name="tenantry", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else ExitCode.OK
    except CliError as error:
        _complain(error.message, error.hint)
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return ExitCode.USAGE
    except click.UsageError as error:
        hint = f"{error.ctx.command_path} --help" if error.ctx is not None else "tenantry --help"
        _complain(error.format_message(), f"see {hint}")
        return ExitCode.USAGE
    except click.ClickException as error:
        _complain(error.format_message(), "")
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        sys.stderr.write("stopped\n")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough (`| head`). Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK


def _complain(message: str, hint: str) -> None:
    from cli.output import printable

    # What the host says may quote what a tenant sent.
    sys.stderr.write("".join(f"error: {printable(line)}\n" for line in message.splitlines() or [""]))
    if hint:
        sys.stderr.write(f"hint: {hint}\n")


if __name__ == "__main__":
    sys.exit(main())
