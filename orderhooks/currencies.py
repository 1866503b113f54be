"""The currency codes of ISO 4217 and how many decimal places each has. For `sources` and the order's validation."""

from decimal import Decimal

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

CODES = frozenset(
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF "
    "CLF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD "
    "HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD "
    "MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN "
    "PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY "
    "TTD TWD TZS UAH UGX USD UYU UYW UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG".split()
)
PLACES = (
    dict.fromkeys("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF".split(), 0)
    | dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3)
    | dict.fromkeys("CLF UYW".split(), 4)
)


def validate_currency(code: str) -> None:
    """Raises ValidationError unless the code is a current code of ISO 4217 in capitals."""
    if code not in CODES:
        raise ValidationError(
            _("%(code)s is not a currency code of ISO 4217. Use three capitals such as EUR or USD."),
            code="currency",
            params={"code": repr(code)},
        )


def decimal_text(amount: Decimal, currency: str) -> str:
    """The amount with the currency's decimal places: "19.90" for EUR, "1990" for JPY. Never drops a digit."""
    places = PLACES.get(currency, 2)
    exponent = amount.normalize().as_tuple().exponent
    # The exponent of NaN and infinity is a letter. Databases return neither.
    return f"{amount:.{max(places, -exponent if isinstance(exponent, int) else 0)}f}"
