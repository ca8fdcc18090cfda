// How a file is compiled for an instruction set of its own, by GCC and by clang: TARGET after what it includes, so that
// functions of others stay what any processor runs, and END_TARGET at its end.
#pragma once

#define PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define TARGET(set) PRAGMA(clang attribute push(__attribute__((target(set))), apply_to = function))
#define END_TARGET PRAGMA(clang attribute pop)
#else
#define TARGET(set) PRAGMA(GCC target(set))
#define END_TARGET // a template is compiled at the end of the file, for what was chosen last
#endif
