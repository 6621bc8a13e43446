"""The tuner: experiments in, trials (training jobs) out, and the best of them."""
