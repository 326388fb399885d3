"""Where the AWS console shows things. Only addresses are made here; nothing is asked."""

from urllib.parse import quote

# Partitions whose console has a host of its own (AWS General Reference, "console endpoints").
_HOSTS = {"cn-": "console.amazonaws.cn", "us-gov-": "console.amazonaws-us-gov.com"}


def log_stream_url(region: str, group: str, stream: str) -> str:
    """The page of one CloudWatch Logs stream."""
    home = f"https://{_host(region)}/cloudwatch/home?region={region}"
    return f"{home}#logsV2:log-groups/log-group/{_escaped(group)}/log-events/{_escaped(stream)}"


def _host(region: str) -> str:
    own = [host for prefix, host in _HOSTS.items() if region.startswith(prefix)]
    return own[0] if own else f"{region}.console.aws.amazon.com"


def _escaped(text: str) -> str:
    # The console reads what follows # by an escaping of its own: that of URLs twice, with $ for %.
    return quote(quote(text, safe=""), safe="").replace("%", "$")
