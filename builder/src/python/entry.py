"""Starts the console script that the package is called by."""

import os
import sys

DEFAULT = "NAME"
# What the file is called unless somebody gives it another name.
OWN = "PACKAGE"
SCRIPTS = {
    # TABLE
}

if __name__ == "__main__":
    name = os.path.basename(os.environ.get("PSPF_ARGV0", ""))
    name = name[:-4] if name.endswith(".psp") else name
    name = name if name in SCRIPTS and name != OWN else DEFAULT
    module, attributes = SCRIPTS[name]
    for folder in os.environ.get("PSPF_PYTHONPATH", "").split(os.pathsep):
        script = os.path.join(folder, "bin", name)
        if folder and os.path.exists(script):
            sys.argv[0] = script
            break
    function = sys.modules[module] if module in sys.modules else __import__(module, fromlist=["_"])
    for attribute in attributes.split("."):
        function = getattr(function, attribute)
    sys.exit(function())
