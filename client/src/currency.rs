//! The currencies of ISO 4217 and how many decimals each has.
//! It leaves amounts to `money`.

const NONE: &str = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF";
const THREE: &str = "BHD IQD JOD KWD LYD OMR TND";
const FOUR: &str = "CLF UYW";
const TWO: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD \
    CDF CHE CHF CHW CNY COP COU CRC CUC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD \
    HKD HNL HRK HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP \
    MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG \
    SEK SGD SHP SLE SLL SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST \
    XAD XCD XCG YER ZAR ZMW ZWG ZWL";

/// How many decimals a currency has; `None` for a code that ISO 4217 does not list or lists without a minor unit.
pub(crate) fn exponent(code: &str) -> Option<u32> {
    let lists = |codes: &str| code.len() == 3 && codes.split(' ').any(|listed| listed == code);
    [(TWO, 2), (NONE, 0), (THREE, 3), (FOUR, 4)]
        .into_iter()
        .find_map(|(codes, decimals)| lists(codes).then_some(decimals))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_currency_is_listed_once() {
        let mut codes: Vec<&str> = [NONE, TWO, THREE, FOUR].iter().flat_map(|codes| codes.split_whitespace()).collect();
        assert!(codes.iter().all(|code| code.len() == 3));
        let listed = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), listed);
    }

    #[test]
    fn decimals_follow_the_standard() {
        assert_eq!(
            ["EUR", "JPY", "TND", "CLF", "XXX", "eur", ""].map(exponent),
            [Some(2), Some(0), Some(3), Some(4), None, None, None]
        );
    }
}
