"use strict";
// Starts the script that the package is called by.
const { basename, join } = require("path");

const scripts = new Map(TABLE);
const called = basename(process.env.PSPF_ARGV0 || "", ".psp");
process.argv[1] = join(__dirname, "..", scripts.get(scripts.has(called) ? called : NAME));
require("module").runMain();
