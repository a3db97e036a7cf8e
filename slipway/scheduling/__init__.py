"""Which requests run when: queues, batchers, ensembles."""
