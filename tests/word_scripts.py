"""Made-up paragraphs in many scripts: sentences of a few words, put together in all ways."""

import unicodedata
from collections.abc import Sequence
from itertools import product

# (code, blank between words, end of a sentence): who, what they do, what to
PARTS: dict[str, tuple[str, str, Sequence[str], Sequence[str], Sequence[str]]] = {
    "de": (
        " ",
        ". ",
        ("Der Müller", "Die Fischerin", "Der Lehrer", "Die Königin"),
        ("findet", "verkauft", "zeichnet", "bewundert"),
        ("das Schiff", "die Brücke", "den Garten", "das Mädchen"),
    ),
    "ru": (
        " ",
        ". ",
        ("Старый рыбак", "Молодой учитель", "Хозяйка сада", "Капитан"),
        ("продаёт", "рисует", "находит", "чинит"),
        ("деревянный мост", "красную лодку", "каменный дом", "медный колокол"),
    ),
    "ar": (
        " ",
        ". ",
        ("الصياد", "المعلمة", "البستاني", "الملكة"),
        ("يبيع", "يرسم", "يصلح", "يشتري"),
        ("القارب القديم", "الجسر الخشبي", "البيت الكبير", "الجرس النحاسي"),
    ),
    "hi": (
        " ",
        "। ",
        ("मछुआरा", "शिक्षक", "माली", "रानी"),
        ("बेचता", "बनाता", "ढूँढता", "खरीदता"),
        ("पुरानी नाव", "लकड़ी पुल", "पत्थर मकान", "हिन्दी किताब"),
    ),
    "vi": (
        " ",
        ". ",
        ("Người đánh cá", "Cô giáo trẻ", "Nữ hoàng", "Thợ mộc"),
        ("tìm thấy", "bán", "vẽ", "ngắm"),
        ("chiếc thuyền cũ", "cây cầu gỗ", "ngôi nhà đá", "quả chuông đồng"),
    ),
    "th": (
        "",
        " ",
        ("ชาวประมง", "ครูสาว", "ชาวสวน", "ราชินี"),
        ("ขาย", "วาด", "ซ่อม", "ค้นหา"),
        ("เรือเก่า", "สะพานไม้", "บ้านหิน", "ระฆังทองแดง"),
    ),
    "zh": (
        "",
        "。",
        ("渔夫", "老师", "园丁", "女王"),
        ("出售", "描绘", "修理", "寻找"),
        ("旧木船", "石头桥梁", "红色房屋", "青铜大钟"),
    ),
    "ja": (
        "",
        "。",
        ("漁師は", "先生は", "庭師は", "女王は"),
        ("古い船を", "木の橋を", "石の家を", "銅の鐘を"),
        ("売った", "描いた", "直した", "探した"),
    ),
}
LANGUAGES = [*PARTS, "vi-decomposed"]


def contexts(language: str) -> list[str]:
    """Give sixteen paragraphs of twelve sentences."""
    blank, end, *parts = PARTS[language.removesuffix("-decomposed")]
    sentences = [blank.join(words) + end for words in product(*parts)]
    step = 5  # has no divisor in common with 64: every sentence comes three times
    found = [
        "".join(sentences[(12 * n + k) * step % 64] for k in range(12)).strip() for n in range(16)
    ]
    form = "NFD" if language.endswith("-decomposed") else "NFC"
    return [unicodedata.normalize(form, text) for text in found]
