"""Analysis of results: exponents, simulation against theory, calibration, claims."""

from jaxscale.analysis.calibrate import calibrate as calibrate
from jaxscale.analysis.calibration import Calibration as Calibration
from jaxscale.analysis.claim import Claim as Claim
from jaxscale.analysis.claim import Verdict as Verdict
from jaxscale.analysis.claim import claims_table as claims_table
from jaxscale.analysis.claim import claims_to_json as claims_to_json
from jaxscale.analysis.compare import Comparison as Comparison
from jaxscale.analysis.compare import compare as compare
from jaxscale.analysis.exponents import Exponent as Exponent
from jaxscale.analysis.exponents import Interval as Interval
from jaxscale.analysis.exponents import crossing as crossing
from jaxscale.analysis.exponents import fit_exponent as fit_exponent
from jaxscale.analysis.exponents import fit_saturating as fit_saturating
from jaxscale.analysis.exponents import local_exponent as local_exponent
from jaxscale.analysis.exponents import seed_interval as seed_interval
from jaxscale.analysis.formula import Formula as Formula
from jaxscale.analysis.frontier import Frontier as Frontier
from jaxscale.analysis.frontier import frontier as frontier
from jaxscale.analysis.jackknife import jackknife as jackknife
from jaxscale.analysis.jackknife import jackknife_exponents as jackknife_exponents
from jaxscale.analysis.loss_surface import LossSurface as LossSurface
from jaxscale.analysis.loss_surface import fit_loss_surface as fit_loss_surface
from jaxscale.analysis.loss_surface import loss_surface as loss_surface
