"""Use cases as jobs: asked for, approved, carried out once, and settled when nobody heard the answer.

parameters   what a job of each kind needs               kinds      the table: procedure, KeyID, approval
outcomes     results in words and as values              life       states of a job, and when it is tried again
desk         asking, approving, cancelling, listing      journal    what a head-end must not forget, with the job
runner       carries jobs out, one per device            worker     the thread that runs it
carriers     who takes exchanges to devices              remote     the same over a message broker
link         a gateway machine at a link of this process
"""
