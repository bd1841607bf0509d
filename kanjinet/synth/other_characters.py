"""Characters that are none of a set's, by kind."""

import functools
import unicodedata
from enum import Enum

from kanjinet.classes import ETL9G_SET, CharacterSet
from kanjinet.synth.kanjivg import list_characters


class Kind(Enum):
    """What an image shows that shows none of the characters."""

    KATAKANA = "katakana"
    DIGITS = "digits"
    LATIN = "Latin letters"
    SIGNS = "ゐ, ゑ and signs"
    JOYO = "Joyo kanji outside ETL9G"
    KANJI = "other kanji"
    SCRIBBLES = "scribbles"
    CLICKS = "clicks"
    VERTICAL = "vertical lines"
    SLOPING = "sloping lines"


# Those that handwriting fonts have too. Without what looks like one of ETL9G's when it alone is written, such as カ,
# ニ and ロ, or 丁 without its hook. Small kana are left out: an image is cropped to its ink.
FREQUENT_OTHERS = {
    Kind.KATAKANA: "アイウキクケコサシスツテナネマミムメモヤユラルワヲンヰヱヴギグゲゴザジズダヂヅデドバブボパプポ",
    Kind.DIGITS: "0123456789",
    Kind.LATIN: "ABCDEFGHIJKMNOPQRSUVWXYabcdefghijkmnopqrsuvwxy",
    Kind.SIGNS: "ゐゑゔ々〆ゝゞ。゜!?:",
    Kind.JOYO: "彙鬱楷諧毀嗅惧憬錮傲刹恣摯羞箋踪緻嘲貪丼訃璧哺喩瘍拉辣慄曖",  # without 剝 塡 頰 𠮟 籠: forms of ETL9G's
}
# Forms of the sets' characters that have a code of their own, older ones above all, and kanji that only print tells
# from one of them.
_FORMS_OF_CHARACTERS = frozenset(
    "儘剝堯壺攪檜槇檮濤灌礦礪竈籠藪蘂蠅蠣諫賤遙邇靱頸鰺鶯俱頰噓吞萊讚繡閖簞蟬仝聨懷鷗恊舖繫焰釡襃騷醬艷圈冐狹單竒摑釀濳"
    "專凉愽雜擣繪壞關來兔萓纒穗謠剩搆讀乘亊曵顏亞惡壓圍醫爲壹稻飮隱營榮衞驛圓鹽應歐毆櫻奧穩假價畫會擴殼覺學嶽樂勸卷歡罐"
    "觀陷歸氣龜僞戲犧舊據擧峽挾曉區驅勳徑惠攜溪經繼莖螢輕鷄藝缺儉劍檢權獻縣險顯驗嚴效廣恆黃鑛號國黑濟碎齋劑册參慘棧蠶贊"
    "殘絲齒兒辭濕實寫釋壽收從澁獸縱肅處敍奬將燒稱證壤孃條淨疊讓囑觸寢愼眞盡圖粹醉隨髓數樞聲齊靜攝竊戰淺潛纖踐錢禪雙壯搜"
    "插爭窗總聰莊裝臟藏屬續墮體對帶滯臺擇澤擔膽團彈斷癡遲晝蟲鑄廳聽敕鎭遞鐵轉點傳黨盜當鬪獨屆貳惱腦霸廢拜賣麥發髮拔蠻祕"
    "濱拂佛竝變邊邉辨辯瓣寶豐沒飜萬滿默餠彌譯藥與豫餘譽搖樣亂覽兩獵壘禮勵靈齡戀爐勞樓灣凜巖晄祿穰萠塡瀆禱蔣蘆顚冰廐廏皋"
    "箏綫脉菴葢蕋蝨讎谿貍躰軆軣逹鄰鐡鑒閇鬥麁鼡𠮟牀穽筺鉤鴈嶌弍弌壻娚婬尅巓懽朞梹棊橸歿毓洒涅烟煕熈燻犂珎畄畆畧疉癈皃皷"
    "盖眤碪磆稟稾竚糀糺緜羇翆耻肬膓臈艸莵菷蓆蘓衂褌觧讌譛豎賍躱迯逎遯鄙釁釼鈬鎔鐇閙陏隲雋鞐餝鬱鰛鰮鵞黴已抉掎閠閻閹棯剌"
    "匆耒夭几毋戍聿"
)
# Like o, 1, イ, リ, ヨ, シ, ネ, ク, 人 and the like, which other sets than ETL9G have.
_LIKE_FURTHER_CHARACTERS = frozenset("。゜丨亻刂彐氵礻衤𠂊𠆢匀喻罒艹飠㔾")


@functools.lru_cache(maxsize=2)
def list_others(character_set: CharacterSet = ETL9G_SET) -> dict[Kind, str]:
    """Lists the characters of each kind that are none of a set's: those of FREQUENT_OTHERS first, in their order.

    Raises:
        KanjinetError: the package `kanjivg` is missing.
    """
    kanji = (each for each in list_characters() if unicodedata.name(each, "").startswith("CJK UNIFIED"))
    known = {*character_set.characters, *_FORMS_OF_CHARACTERS, *FREQUENT_OTHERS[Kind.JOYO]}
    not_others = {*character_set.characters, *(() if character_set == ETL9G_SET else _LIKE_FURTHER_CHARACTERS)}
    others = {**FREQUENT_OTHERS, Kind.KANJI: "".join(each for each in kanji if each not in known)}
    return {kind: "".join(each for each in members if each not in not_others) for kind, members in others.items()}
