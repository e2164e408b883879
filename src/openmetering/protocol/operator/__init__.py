"""The operator's side: use cases of OMS Volume 2 Annex M as procedures, and the head-end that holds application keys."""
