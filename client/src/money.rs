//! Exact amounts of money: whole units and billionths, read and written as decimals, never through a float.
//! It leaves how fine an amount may be to the service.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer, ser::SerializeStruct};
use stead_api::google::r#type::Money as Wire;

use crate::currency;

const NANOS: i128 = 1_000_000_000;

/// An amount in one currency.
///
/// ```
/// use stead_client::Money;
///
/// let price: Money = "12.50 EUR".parse()?;
/// assert_eq!((price.units(), price.nanos()), (12, 500_000_000));
/// assert_eq!(price, Money::from_minor_units("EUR", 1250)?);
/// assert_eq!(price.to_string(), "12.50 EUR");
/// # Ok::<(), stead_client::InvalidMoney>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Money {
    currency: String,
    units: i64,
    nanos: i32,
}

/// Why something is not an amount of money.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidMoney(String);

impl Money {
    /// Whole units and billionths of one, both of the same sign.
    pub fn new(currency: &str, units: i64, nanos: i32) -> Result<Money, InvalidMoney> {
        if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(InvalidMoney(format!(
                "`{}` is not a currency: write its three letters of ISO 4217, such as EUR",
                currency.chars().take(20).collect::<String>()
            )));
        }
        if nanos.unsigned_abs() >= 1_000_000_000 {
            return Err(InvalidMoney(format!("nanos {nanos} are a whole unit or more: keep within ±999999999")));
        }
        if (units > 0 && nanos < 0) || (units < 0 && nanos > 0) {
            return Err(InvalidMoney(format!("units {units} and nanos {nanos} differ in sign: give both the same")));
        }
        Ok(Money { currency: currency.to_owned(), units, nanos })
    }

    /// An amount counted in the currency's smallest unit, such as cents, by the exponents of ISO 4217.
    pub fn from_minor_units(currency: &str, minor_units: i64) -> Result<Money, InvalidMoney> {
        let exponent = currency::exponent(currency).ok_or_else(|| {
            InvalidMoney(format!(
                "`{}` has no minor unit in ISO 4217: write units and nanos, or another currency",
                currency.chars().take(20).collect::<String>()
            ))
        })?;
        Self::from_nanos(currency, i128::from(minor_units) * (NANOS / 10_i128.pow(exponent)))
    }

    /// The currency's three letters.
    pub fn currency(&self) -> &str {
        &self.currency
    }

    /// Whole units.
    pub const fn units(&self) -> i64 {
        self.units
    }

    /// Billionths of a unit, of the sign of the units.
    pub const fn nanos(&self) -> i32 {
        self.nanos
    }

    /// The amount in the currency's smallest unit, if it is a whole number of them.
    pub fn minor_units(&self) -> Option<i64> {
        let nanos_in_one = NANOS / 10_i128.pow(currency::exponent(&self.currency)?);
        let total = self.total_nanos();
        if total % nanos_in_one == 0 { i64::try_from(total / nanos_in_one).ok() } else { None }
    }

    fn total_nanos(&self) -> i128 {
        i128::from(self.units) * NANOS + i128::from(self.nanos)
    }

    fn from_nanos(currency: &str, total: i128) -> Result<Money, InvalidMoney> {
        let units = i64::try_from(total / NANOS)
            .map_err(|_| InvalidMoney("the amount is too large: keep its whole units within 64 bits".to_owned()))?;
        Self::new(currency, units, i32::try_from(total % NANOS).unwrap_or_default())
    }

    pub(crate) fn from_wire(wire: &Wire) -> Result<Money, InvalidMoney> {
        Self::new(&wire.currency_code, wire.units, wire.nanos)
    }

    pub(crate) fn to_wire(&self) -> Wire {
        Wire { currency_code: self.currency.clone(), units: self.units, nanos: self.nanos }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.units < 0 || self.nanos < 0 { "-" } else { "" };
        let fraction = format!("{:09}", self.nanos.unsigned_abs());
        let shown = currency::exponent(&self.currency).unwrap_or(2) as usize;
        let fraction = &fraction[..fraction.trim_end_matches('0').len().max(shown)];
        let point = if fraction.is_empty() { "" } else { "." };
        write!(f, "{sign}{}{point}{fraction} {}", self.units.unsigned_abs(), self.currency)
    }
}

/// Reads `12.50 EUR`, `EUR 12.50` and `12.50EUR`.
impl FromStr for Money {
    type Err = InvalidMoney;

    fn from_str(text: &str) -> Result<Money, InvalidMoney> {
        let fault = || {
            InvalidMoney(format!(
                "`{}` is not an amount: write it as `12.50 EUR`, with at most nine decimals",
                text.chars().take(40).collect::<String>()
            ))
        };
        let text = text.trim();
        let is_letter = |c: char| c.is_ascii_alphabetic();
        let (currency, amount) = if text.starts_with(is_letter) {
            text.split_at(text.find(|c| !is_letter(c)).ok_or_else(fault)?)
        } else {
            let (amount, currency) = text.split_at(text.find(is_letter).ok_or_else(fault)?);
            (currency, amount)
        };
        let (sign, digits) = match amount.trim().strip_prefix('-') {
            Some(digits) => (-1, digits),
            None => (1, amount.trim()),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) || fraction.len() > 9 || whole.len() > 19 {
            return Err(fault());
        }
        let total: i128 = format!("{whole}{fraction:0<9}").parse().map_err(|_| fault())?;
        Self::from_nanos(currency, sign * total)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Money", 3)?;
        fields.serialize_field("currency_code", &self.currency)?;
        fields.serialize_field("units", &self.units)?;
        fields.serialize_field("nanos", &self.nanos)?;
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Money {
        text.parse().unwrap()
    }

    #[test]
    fn amounts_are_read_in_every_spelling() {
        for text in ["12.50 EUR", "EUR 12.50", "12.5EUR", " 12.500000000  EUR ", "012.5 EUR"] {
            assert_eq!(parsed(text), Money::new("EUR", 12, 500_000_000).unwrap(), "{text}");
        }
        assert_eq!(parsed("-0.01 USD"), Money::new("USD", 0, -10_000_000).unwrap());
        assert_eq!(parsed("7 JPY").to_string(), "7 JPY");
        assert_eq!(parsed("7 KWD").to_string(), "7.000 KWD");
        assert_eq!(parsed("0.005 EUR").to_string(), "0.005 EUR");
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in
            ["", "EUR", "12.50", "1,5 EUR", "1.2.3 EUR", "1.0000000001 EUR", ". EUR", "1e3 EUR", "--1 EUR", "5 EU"]
        {
            assert!(text.parse::<Money>().is_err(), "{text}");
        }
        assert!("99999999999999999999 EUR".parse::<Money>().is_err());
    }

    #[test]
    fn minor_units_follow_the_currency() {
        assert_eq!(Money::from_minor_units("EUR", 28_690).unwrap().to_string(), "286.90 EUR");
        assert_eq!(Money::from_minor_units("JPY", 28_690).unwrap().to_string(), "28690 JPY");
        assert_eq!(Money::from_minor_units("BHD", -1).unwrap().to_string(), "-0.001 BHD");
        assert!(Money::from_minor_units("ZZZ", 1).is_err());
        assert_eq!(parsed("0.005 EUR").minor_units(), None);
    }

    proptest! {
        #[test]
        fn an_amount_survives_being_written_and_read(minor in any::<i64>(), nanos in -999_999_999_i32..=999_999_999) {
            let money = Money::from_minor_units("EUR", minor).unwrap();
            prop_assert_eq!(&parsed(&money.to_string()), &money);
            prop_assert_eq!(money.minor_units(), Some(minor));
            let fine = Money::new("EUR", 0, nanos).unwrap();
            prop_assert_eq!(parsed(&fine.to_string()), fine);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".*") {
            let _ = text.parse::<Money>();
        }
    }
}
