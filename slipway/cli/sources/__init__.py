"""The sources of `slipway serve`: what each one is, its conversion, the cache of conversions, the exchange of a served
model for a faster one, and what is printed when all of them are served."""
