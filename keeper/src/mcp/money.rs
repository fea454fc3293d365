//! Amounts as people write them: documents carry token units, of which a model would misread the zeros.

use contracts::units::Amount;
use serde_json::Value;

/// Fields that hold an amount, whatever document they are in.
const AMOUNTS: [&str; 27] = [
    "available",
    "best_waiting_per_hour",
    "bond_per_slot",
    "credit",
    "daily_limit",
    "earned",
    "escrow",
    "fee",
    "last_clearing_per_hour",
    "lifetime_limit",
    "lowest_reserve_per_hour",
    "max_price_per_hour",
    "paid",
    "pay",
    "penalty",
    "per_bid_limit",
    "price_per_hour",
    "refund",
    "reserve_per_hour",
    "reserved",
    "slash",
    "slashed",
    "spent",
    "spent_24h",
    "tokens",
    "uncounted_spent",
    "withdrawn",
];

/// The document with every amount as a number of AIT.
pub(super) fn in_ait(mut document: Value) -> Value {
    turn(&mut document);
    if let Some(fields) = document.as_object_mut() {
        fields.insert("unit".into(), "AIT".into());
    }
    document
}

fn turn(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(turn),
        Value::Object(fields) => {
            for (name, value) in fields {
                let units = value.as_str().and_then(|text| text.parse().ok()).map(Amount);
                match units {
                    Some(units) if AMOUNTS.contains(&name.as_str()) => *value = units.to_string().into(),
                    _ => turn(value),
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::in_ait;

    #[test]
    fn amounts_and_nothing_else_are_turned() {
        let document = json!({
            "escrow": "2500000000000000000",
            "chain_id": 31337,
            "gas_wei": "21000",
            "keys": [{ "key": "0x01", "spent": "0", "reserved": null }],
        });
        let turned = in_ait(document);
        assert_eq!(turned["escrow"], "2.5 AIT");
        assert_eq!(turned["keys"][0]["spent"], "0 AIT");
        assert_eq!(turned["keys"][0]["reserved"], json!(null));
        assert_eq!((turned["gas_wei"].as_str(), turned["chain_id"].as_u64()), (Some("21000"), Some(31_337)));
    }
}
