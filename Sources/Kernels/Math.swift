// The C library's elementary functions, so that the other modules need not import it each.
@_exported public import Glibc
