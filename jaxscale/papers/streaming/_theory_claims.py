def phase_claims(): return []
def noise_claims(): return []
def momentum_claims(): return []
def batch_claims(): return []
