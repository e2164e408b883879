"""The operator's side: use cases of OMS Volume 2 Annex M as procedures, and the head-end that holds application keys.

head_end      keys, key counters, containers (SITP)        journal   what must survive a power cut
secured       commands that are executed once, and settle  answers, tags   reading answers, making commands
conformance   UC-00      registration  UC-01      disconnector  UC-03     clock      UC-04    firmware  UC-05
supervision   UC-06      consumer      UC-07      keys          UC-08     billing    UC-12
selection     UC-14      adapter       UC-20
operator      the machine that drives a procedure          describe  a dry run of one
differences   what an issue of OMS Volume 2 changes
"""
