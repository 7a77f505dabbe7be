"""The types of settings by which a configuration would have code run, which needs permission."""

from __future__ import annotations

from typing import Annotated

ImportPath = Annotated[str, "imported"]
"""The name of code to import, `package.module:name` or `package.module.Name`.

A configuration may hold only names in packages of its `allow`.
"""

RunsPickle = Annotated[bool, "reads a pickle"]
"""True where a pickle may be read, which runs what its writer put into it.

A configuration may hold true only where its `allow` holds `pickle`.
"""
