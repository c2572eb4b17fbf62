# SPDX-License-Identifier: Apache-2.0
"""Made formats/ (random pixels in what Pillow 13.0.0 writes, and by hand what it doesn't): formats.py FOLDER. The planar,
tiled, big-endian, BigTIFF and LSB-first TIFF files are copies of these by libtiff's tiffcp (-p separate, -t, -B, -8, -f)."""
import numpy as np, io, os, struct, sys
from PIL import Image, TiffImagePlugin
rng=np.random.default_rng(3)
D=sys.argv[1].rstrip('/')+'/'
W,H=13,9
rgb=Image.fromarray(rng.integers(0,256,(H,W,3),dtype='uint8'))
sm=rgb.resize((W,H)).filter(__import__('PIL.ImageFilter',fromlist=['x']).GaussianBlur(2))
rgba=Image.fromarray(rng.integers(0,256,(H,W,4),dtype='uint8'))
L=rgb.convert('L'); LA=rgba.convert('LA'); P=rgb.quantize(200); P16=rgb.quantize(16); P4=rgb.quantize(4);P2=rgb.quantize(2); one=L.convert('1'); cmyk=Image.fromarray(rng.integers(0,256,(H,W,4),dtype='uint8'),'CMYK')
I16=Image.fromarray(rng.integers(0,600,(H,W)).astype('uint16'))
I=Image.fromarray(rng.integers(-300,600,(H,W)).astype('int32')); F=Image.fromarray((rng.random((H,W))*400-50).astype('float32'))
ims=dict(rgb=rgb,rgba=rgba,L=L,LA=LA,P=P,P16=P16,one=one,cmyk=cmyk,I16=I16,I=I,F=F,ycc=sm.convert('YCbCr'))
for n,im in ims.items():
    for c in (None,'tiff_lzw','tiff_adobe_deflate','packbits','jpeg','group4','zstd','lzma','webp'):
        for o in ({}, {'orientation':6} if False else None):
            if o is None: continue
            try: im.save(f'{D}{n}_{c}.tif',compression=c)
            except Exception as e: 
                if os.path.exists(f'{D}{n}_{c}.tif'): os.remove(f'{D}{n}_{c}.tif')
for o in range(1,9):
    ifd=TiffImagePlugin.ImageFileDirectory_v2(); ifd[274]=o
    rgb.save(f'{D}orient{o}.tif',tiffinfo=ifd); rgb.save(f'{D}orientc{o}.tif',tiffinfo=ifd,compression='tiff_lzw')
ifd=TiffImagePlugin.ImageFileDirectory_v2(); ifd[278]=5
rgb.save(D+'strips.tif',tiffinfo=ifd,compression='tiff_lzw')
for n in ('rgb','L','P','P16','one','rgba'):
    for e in ('bmp','png','gif','webp','ppm','jpg','tga'):
        try: ims[n].save(f'{D}{n}.{e}')
        except Exception as ex: pass
P4.save(D+'p4.bmp',bits=4); P2.save(D+'p2.bmp'); P2.save(D+'p2.gif'); P16.save(D+'p16.bmp')
sm.save(D+'prog.jpg',progressive=True,quality=40); sm.save(D+'q95_444.jpg',subsampling=0,quality=95); cmyk.save(D+'cmyk.jpg'); sm.save(D+'422.jpg',subsampling=1)
for q in (1,10,50,100): sm.save(D+f'q{q}.webp',quality=q)
# GIF frame offset & interlace
fr=[P.copy() for _ in range(3)]
fr[0].save(D+'anim.gif',save_all=True,append_images=[rgb.rotate(9).quantize(30),rgb.rotate(50).quantize(9)],interlace=1)
def gif(sw,sh,x,y,im,trans=None,lp=False,gp=True,bits=7,interlace=0,cut=None):
    b=io.BytesIO(); im.save(b,'GIF',interlace=interlace); d=b.getvalue()
    src=Image.open(io.BytesIO(d)); src.load()
    pal=d[13:13+3*(2<<(d[10]&7))]; i=13+len(pal)
    while d[i]==0x21:
        i+=2
        while d[i]: i+=d[i]+1
        i+=1
    body=d[i+10:]
    n=len(pal)//3; nb=(n.bit_length()-2)
    if cut: pal=pal[:cut*3]; nb=cut.bit_length()-2
    out=b'GIF89a'+struct.pack('<HHBBB',sw,sh,(0x80|nb) if gp else 0,0,0)+(pal if gp else b'')
    if trans is not None: out+=b'\x21\xf9\x04'+bytes([1,0,0,trans,0])
    out+=b','+struct.pack('<HHHHB',x,y,im.width,im.height,((0x80|nb) if lp else 0)|(0x40 if interlace else 0))+(pal if lp else b'')+body
    return out
open(D+'goff.gif','wb').write(gif(60,40,5,7,P)); open(D+'goff_t.gif','wb').write(gif(60,40,5,7,P,trans=9))
open(D+'gout.gif','wb').write(gif(10,10,5,7,P)); open(D+'gnopal.gif','wb').write(gif(W,H,0,0,P,gp=False)); open(D+'glocal.gif','wb').write(gif(W,H,0,0,P,gp=False,lp=True))
open(D+'gboth.gif','wb').write(gif(W,H,0,0,P,lp=True,interlace=1)); open(D+'gcut.gif','wb').write(gif(W,H,0,0,P,cut=16))
# PNM
for mv in (1,7,100,255,256,1000,65535):
    a=rng.integers(0,mv+1,(H,W,3)); g=a[:,:,0]
    dt='>u2' if mv>255 else 'u1'
    open(D+f'p6_{mv}.ppm','wb').write(b'P6\n# c\n%d %d\n%d\n'%(W,H,mv)+a.astype(dt).tobytes())
    open(D+f'p5_{mv}.pgm','wb').write(b'P5 %d %d %d\n'%(W,H,mv)+g.astype(dt).tobytes())
    open(D+f'p3_{mv}.ppm','wb').write(b'P3\n%d %d\n%d\n'%(W,H,mv)+b' '.join(b'%d'%v for v in a.ravel())+b'\n')
    open(D+f'p2_{mv}.pgm','wb').write(b'P2\n%d %d\n%d\n'%(W,H,mv)+b'\n'.join(b'%d'%v for v in g.ravel()))
bits=rng.integers(0,2,(H,W))
open(D+'p1.pbm','wb').write(b'P1\n%d %d\n'%(W,H)+b'\n'.join(bytes(r+48) for r in bits.astype('u1')))
open(D+'p4.pbm','wb').write(b'P4\n%d %d\n'%(W,H)+np.packbits(bits,axis=1).tobytes())
# BMP variants
def bmp(bits,comp,data,h=H,masks=b'',pal=b'',ncol=0,hs=40,w=W):
    hd=struct.pack('<IiiHHIIiiII',40,w,h,1,bits,comp,len(data),0,0,ncol,0)
    off=14+40+len(masks)+len(pal)
    return b'BM'+struct.pack('<IHHI',off+len(data),0,0,off)+hd+masks+pal+data
def rows(bits):
    st=(W*bits+31)//32*4
    return rng.integers(0,256,st*H,dtype='uint8').tobytes()
open(D+'b16.bmp','wb').write(bmp(16,0,rows(16))); open(D+'b16_565.bmp','wb').write(bmp(16,3,rows(16),masks=struct.pack('<III',0xf800,0x7e0,0x1f)))
open(D+'b32.bmp','wb').write(bmp(32,0,rows(32))); open(D+'b32_top.bmp','wb').write(bmp(32,0,rows(32),h=-H))
open(D+'b32_xbgr.bmp','wb').write(bmp(32,3,rows(32),masks=struct.pack('<III',0xff000000,0xff0000,0xff00)))
pal=rng.integers(0,256,256*4,dtype='uint8').tobytes()
open(D+'b8.bmp','wb').write(bmp(8,0,rows(8),pal=pal)); open(D+'b8_short.bmp','wb').write(bmp(8,0,rows(8),pal=pal[:40],ncol=10)); open(D+'b4.bmp','wb').write(bmp(4,0,rows(4),pal=pal[:64])); open(D+'b1.bmp','wb').write(bmp(1,0,rows(1),pal=pal[:8]))
rle=b''
for y in range(H):
    x=0
    while x<W:
        if rng.random()<.5 and W-x>3:
            k=int(rng.integers(3,min(9,W-x)+1)); rle+=bytes([0,k])+rng.integers(0,256,k,dtype='uint8').tobytes()+(b'\0' if k%2 else b''); x+=k
        else:
            k=int(rng.integers(1,min(9,W-x)+1)); rle+=bytes([k,int(rng.integers(0,256))]); x+=k
    rle+=b'\0\0'
open(D+'rle8.bmp','wb').write(bmp(8,1,rle+b'\0\1',pal=pal))
rle=b''
for y in range(H):
    x=0
    while x<W:
        if rng.random()<.4 and W-x>3:
            k=int(rng.integers(3,min(9,W-x)+1)); nb=(k+1)//2; rle+=bytes([0,k])+rng.integers(0,256,nb,dtype='uint8').tobytes()+(b'\0' if nb%2 else b''); x+=k
        else:
            k=int(rng.integers(1,min(9,W-x)+1)); rle+=bytes([k,int(rng.integers(0,256))]); x+=k
    rle+=b'\0\0'
open(D+'rle4.bmp','wb').write(bmp(4,2,rle+b'\0\1',pal=pal[:64]))
# PNG: index out of range
import zlib
def chunk(t,d): return struct.pack('>I',len(d))+t+d+struct.pack('>I',zlib.crc32(t+d))
raw=b''.join(b'\0'+r.tobytes() for r in rng.integers(0,256,(H,W),dtype='uint8'))
open(D+'pal_oor.png','wb').write(b'\x89PNG\r\n\x1a\n'+chunk(b'IHDR',struct.pack('>IIBBBBB',W,H,8,3,0,0,0))+chunk(b'PLTE',pal[:30])+chunk(b'IDAT',zlib.compress(raw))+chunk(b'IEND',b''))
raw=b''.join(b'\0'+rng.integers(0,256,W*4,dtype='uint8').tobytes() for _ in range(H))
open(D+'la16.png','wb').write(b'\x89PNG\r\n\x1a\n'+chunk(b'IHDR',struct.pack('>IIBBBBB',W,H,16,4,0,0,0))+chunk(b'IDAT',zlib.compress(raw))+chunk(b'IEND',b''))
# webp animation with offset frames
fr=[rgba, Image.fromarray(rng.integers(0,256,(H,W,4),dtype='uint8'))]
fr[0].save(D+'anim.webp',save_all=True,append_images=fr[1:],lossless=True); rgba.save(D+'rgba_lossless.webp',lossless=True,exact=True); rgba.save(D+'rgba_lossy.webp',quality=60)
