"""Which human language a goal is written in. By script and by common words: enough to know when to translate."""

from __future__ import annotations

import re
import unicodedata

_COMMON = {
    "en": "a an the of to and that with which for from is are in on it its as by be should must not no each every "
    "when if into using has have this these make write build create add fix takes returns prints",
    "de": "der die das den dem des ein eine einen einem einer und mit für ist sind nicht zu zum zur auf von aus bei "
    "soll sollen wird werden kann die schreibe erstelle baue füge programm das als oder wenn über zwei alle",
    "fr": "le la les un une des du de et avec pour est sont dans sur qui que pas ne en au aux par ou si doit écris "
    "écrire crée créer fais une qui deux ajoute liste fonction programme ligne commande",
    "es": "el la los las un una unos unas de del y con para es son en que no por al se como o si debe escribe "
    "escribir crea crear haz programa función que dos añade línea comandos lista",
    "it": "il lo la i gli le un uno una di del della e con per è sono in che non al da come o se deve scrivi "
    "scrivere crea creare fai programma funzione che due aggiunge riga comando elenco",
    "pt": "o a os as um uma uns umas de do da e com para é são em que não por ao no na como ou se deve escreva "
    "escrever crie criar faça programa função que dois adiciona linha comando lista",
    "nl": "de het een en van met voor is zijn in op dat die niet te naar bij of als moet schrijf maak bouw "
    "programma functie twee alle worden kan deze opdrachtregel lijst",
    "pl": "i w na z do że się nie jest są dla który która które lub jak program funkcję napisz stwórz zrób "
    "dwa dwie wszystkie oraz linii poleceń listę",
    "sv": "en ett och med för är som att på av till inte den det de skriv skapa bygg program funktion två alla "
    "ska kan lista eller när",
    "tr": "bir ve ile için bu olan olarak yaz oluştur yap program fonksiyon iki tüm her komut liste veya",
}
_WORDS = {language: frozenset(words.split()) for language, words in _COMMON.items()}
_SCRIPTS = {
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "HANGUL": "ko",
    "CJK": "zh",
    "CYRILLIC": "ru",
    "ARABIC": "ar",
    "HEBREW": "he",
    "GREEK": "el",
    "DEVANAGARI": "hi",
    "THAI": "th",
}
_NO_WORDS = re.compile(
    r"```.*?```|`[^`]*`|\"[^\"]*\"|'[^'\s]*'|https?://\S+|\S*[_./\\(){}\[\]=<>]\w\S*", re.DOTALL
)  # code, names, quoted texts and addresses are of no language
_NAMES = {
    "de": "German",
    "fr": "French",
    "es": "Spanish",
    "it": "Italian",
    "pt": "Portuguese",
    "nl": "Dutch",
    "pl": "Polish",
    "sv": "Swedish",
    "tr": "Turkish",
    "ja": "Japanese",
    "ko": "Korean",
    "zh": "Chinese",
    "ru": "Russian",
    "ar": "Arabic",
    "he": "Hebrew",
    "el": "Greek",
    "hi": "Hindi",
    "th": "Thai",
}


def language_of(text: str) -> str:
    """The language of a text, as `en`, `de`, ...; `en` where there are too few words to tell. Deterministic."""
    prose = _NO_WORDS.sub(" ", text)
    letters = [char for char in prose if char.isalpha()]
    scripts = [_script(char) for char in letters if ord(char) > 0x36F]
    if letters and len(scripts) > len(letters) / 4:
        found = [script for script in scripts if script]
        kana = [script for script in found if script == "ja"]
        return "ja" if kana else max(sorted(set(found)), key=found.count, default="en")
    words = re.findall(r"[^\W\d_]+", prose.lower())
    counts = {language: sum(word in common for word in words) for language, common in _WORDS.items()}
    best = max(counts, key=lambda language: counts[language])
    # Two words more than English has: goals in English may quote a word or two.
    return best if counts[best] >= counts["en"] + 2 else "en"


def name_of(language: str) -> str:
    """A language in words, for people and prompts."""
    return _NAMES.get(language, "another language")


def _script(char: str) -> str:
    name = unicodedata.name(char, "")
    return next((language for script, language in _SCRIPTS.items() if name.startswith(script)), "")
